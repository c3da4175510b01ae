-- GCRA for several limits in one step, atomic: all admit, or nothing is taken. The arithmetic is that of gcra.rs; times
-- are whole microseconds of this server's clock.
-- KEYS: for each limit the theoretical arrival time (TAT) of its next request.
-- ARGV, five for each: interval between requests, capacity (interval times burst), how many are needed (0 to look), how
-- many more to take ahead if there is room, and 1 if its refusal refuses nothing.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local debts, refused, allowed = {}, {}, true
for i = 1, #KEYS do
  local at = (i - 1) * 5
  local interval, capacity, need = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local debt = (tonumber(redis.call('GET', KEYS[i]) or 0) or 0) - now
  if debt < 0 then debt = 0 end
  if debt > capacity then debt = capacity end
  debts[i] = debt
  refused[i] = debt + interval * math.max(need, 1) > capacity
  if refused[i] and need > 0 and ARGV[at + 5] == '0' then allowed = false end
end

local answer = {}
for i = 1, #KEYS do
  local at = (i - 1) * 5
  local interval, capacity, need = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local debt, ahead = debts[i], 0
  local retry_after = 0
  if refused[i] then retry_after = debt + interval * math.max(need, 1) - capacity end
  if allowed and not (refused[i] and need > 0) then
    -- Of what is left a quarter at most is taken ahead, so that near its end a limit is exact.
    local room = math.floor((capacity - debt) / interval) - need
    ahead = math.max(math.min(tonumber(ARGV[at + 4]), math.floor(room / 4)), 0)
    if need + ahead > 0 then
      debt = debt + interval * (need + ahead)
      redis.call('SET', KEYS[i], string.format('%.0f', now + debt), 'PX', string.format('%.0f', math.ceil(debt / 1000)))
    end
  end
  local left = math.floor((capacity - debt) / interval)
  for _, number in ipairs({ refused[i] and 1 or 0, ahead, left, retry_after, debt }) do
    answer[#answer + 1] = number
  end
end
return answer
