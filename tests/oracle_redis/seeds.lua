local seen = redis.call('incr', KEYS[1])
if seen == 1 then redis.call('expire', KEYS[1], ARGV[1]) end
return seen
-----
if redis.call('get', KEYS[1]) == ARGV[1] then
  return redis.call('del', KEYS[1])
end
return 0
-----
local job = redis.call('rpoplpush', KEYS[1], KEYS[2])
if not job then return nil end
redis.call('hset', KEYS[3], 'job', job, 'at', ARGV[1])
return {job, redis.call('llen', KEYS[1])}
-----
local due = redis.call('zrangebyscore', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, 10)
for i, member in ipairs(due) do
  redis.call('zrem', KEYS[1], member)
  redis.call('lpush', KEYS[2], member)
end
return #due
-----
local values = {}
for i, key in ipairs(KEYS) do
  values[i] = redis.call('get', key) or cjson.null
end
return cjson.encode(values)
-----
local function spend(key, amount)
  local left = tonumber(redis.call('GET', key) or '0')
  if left < amount then return false end
  redis.call('DECRBY', key, amount)
  return true
end
if spend(KEYS[1], 1) and spend(KEYS[2], tonumber(ARGV[1])) then return 1 else return 0 end
-----
local call = redis.call
local pairs_of = {}
for i = 1, #ARGV do pairs_of[#pairs_of + 1] = 'f' .. i; pairs_of[#pairs_of + 1] = ARGV[i] end
call('HSET', KEYS[1], unpack(pairs_of))
return call('HGETALL', KEYS[1])
-----
local first, second = KEYS[1], KEYS[2]
do local first = second; redis.call('SET', first, ARGV[1]) end
return redis.call('GET', first)
-----
local ok = redis.pcall('LPUSH', KEYS[1], ARGV[1])
if type(ok) == 'table' and ok.err then return redis.error_reply('WRONG kind') end
return redis.call('DEL', unpack(KEYS))
-----
--[[ a window ]] local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, ms - 60000)
redis.call('ZADD', KEYS[1], ms, string.format('%d-%s', ms, ARGV[1]))
redis.call('PEXPIRE', KEYS[1], 60000)
return redis.call('ZCARD', KEYS[1])
-----
return redis.call("SET", KEYS[1], ARGV[1], "NX", "GET")
-----
local moved = redis.call('SORT', KEYS[1], 'ALPHA', 'STORE', KEYS[2])
redis.call('RENAME', KEYS[2], KEYS[3])
return redis.call('EXISTS', KEYS[1], KEYS[4]) + moved
