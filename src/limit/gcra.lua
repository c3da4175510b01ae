-- GCRA, one step, atomic. The arithmetic is that of gcra.rs; times are whole microseconds of this server's clock.
-- KEYS[1]: the theoretical arrival time (TAT) of the next request.
-- ARGV: interval between requests, capacity (interval times burst), how many to take at once, or 0 to look.
local interval, capacity, take = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local cost = interval * math.max(take, 1)
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

local debt = (tonumber(redis.call('GET', KEYS[1]) or 0) or 0) - now
if debt < 0 then debt = 0 end
if debt > capacity then debt = capacity end

local allowed = debt + cost <= capacity
local retry_after = 0
if not allowed then retry_after = debt + cost - capacity end
if allowed and take > 0 then
  debt = debt + cost
  redis.call('SET', KEYS[1], string.format('%.0f', now + debt), 'PX', string.format('%.0f', math.ceil(debt / 1000)))
end
return { allowed and 1 or 0, math.floor((capacity - debt) / interval), retry_after, debt }
