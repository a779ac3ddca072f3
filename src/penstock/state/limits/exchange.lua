-- One exchange of a holder with the accounts of its buckets: what policy/limit/account.py says, in Redis.
--
-- A key per bucket, a hash: `seen` (time), `s:SLICE` -> spent, `h:HOLDER` -> "amount expires number".
-- ARGV: clock (microseconds; below zero: this server's), holder, number, lease, forgotten, slices per window; then per
-- key: limit, window, span, amount, spent, since, least, need, want, number of refunds, and their times and amounts.
-- Returns per key {granted, used, fair, slice, spent, slice, spent, ...}. Numbers are exact below 2^53.

local floor, max, min = math.floor, math.max, math.min
local next_argument = 0

local function argument()
  next_argument = next_argument + 1
  return ARGV[next_argument]
end

local function whole()
  return tonumber(argument())
end

local function text(value)
  return string.format('%.0f', value)
end

-- Months since year 0 of the proleptic Gregorian calendar, by Howard Hinnant's algorithm (civil_from_days).
local function month_of(at)
  local days = floor(at / 86400000000) + 719468
  local era = floor(days / 146097)
  local day = days - era * 146097
  local year = floor((day - floor(day / 1460) + floor(day / 36524) - floor(day / 146096)) / 365)
  local of_year = day - (365 * year + floor(year / 4) - floor(year / 100))
  local march = floor((5 * of_year + 2) / 153)
  local month = march < 10 and march + 3 or march - 9
  return (year + era * 400 + (month <= 2 and 1 or 0)) * 12 + month - 1
end

local clock = whole()
if clock < 0 then
  local time = redis.call('TIME')
  clock = time[1] * 1000000 + time[2]
end
local holder, number, lease, forgotten, slices = argument(), whole(), whole(), whole(), whole()
local replies = {}

for _, key in ipairs(KEYS) do
  local limit, window, span = whole(), whole(), argument()
  local amount, told, since, least, need, want = whole(), whole(), whole(), whole(), whole(), whole()
  local refunds = {}
  for index = 1, whole() do
    refunds[index] = { whole(), whole() }
  end

  local held = window == 0 and span == ''
  local length = max(1, -floor(-window / slices))
  local function slice_of(at)
    if span == 'month' then
      return month_of(at)
    end
    return floor(at / (span == 'day' and 86400000000 or length))
  end

  local spent, holdings, seen, changed, removed = {}, {}, 0, {}, {}
  local stored = redis.call('HGETALL', key)
  for index = 1, #stored, 2 do
    local field, value = stored[index], stored[index + 1]
    local kind, name = string.sub(field, 1, 2), string.sub(field, 3)
    if kind == 's:' then
      spent[tonumber(name)] = tonumber(value)
    elseif kind == 'h:' then
      local had, expires, last = string.match(value, '^(%d+) (%d+) (%d+)$')
      holdings[name] = { amount = tonumber(had), expires = tonumber(expires), number = tonumber(last) }
    else
      seen = tonumber(value)
    end
  end

  local function book(slice, value)
    spent[slice] = value > 0 and value or nil
    changed['s:' .. text(slice)] = value > 0 and text(value) or false
  end

  local now = max(clock, seen)
  local first = held and 0 or slice_of(now - window)
  for name, each in pairs(holdings) do
    if each.expires <= now then
      local slice = held and 0 or slice_of(each.expires)
      if held or slice < first or each.expires + forgotten <= now then
        if not held and each.amount > 0 then
          book(slice, (spent[slice] or 0) + each.amount)
        end
        holdings[name] = nil
        changed['h:' .. name] = false
      end
    end
  end
  local numbers = {}
  for slice in pairs(spent) do
    if slice < first then
      book(slice, 0)
    end
  end

  local mine = holdings[holder] or { amount = 0, expires = 0, number = 0 }
  local fresh = number > mine.number
  holdings[holder] = mine
  if fresh and since > mine.number and not held then
    if told > 0 then
      local latest = slice_of(now)
      book(latest, (spent[latest] or 0) + told)
    end
    for _, refund in ipairs(refunds) do
      local from, left = slice_of(refund[1]), refund[2]
      if from >= first then
        local booked = {}
        for slice in pairs(spent) do
          if slice >= from then
            booked[#booked + 1] = slice
          end
        end
        table.sort(booked)
        for _, slice in ipairs(booked) do
          local taken = min(left, spent[slice])
          left = left - taken
          book(slice, spent[slice] - taken)
          if left == 0 then
            break
          end
        end
      end
    end
  end
  if fresh then
    mine.amount, mine.number, mine.expires = amount, number, now + lease
  end

  local used, keepers = 0, 0
  for slice, value in pairs(spent) do
    used = used + value
    numbers[#numbers + 1] = slice
  end
  for _, each in pairs(holdings) do
    used = used + each.amount
    if each.expires > now then
      keepers = keepers + 2
    end
  end

  local granted, fair = 0, 0
  if fresh then
    local room = max(0, limit - used)
    if room >= least then
      granted = min(need, room)
    end
    granted = granted + min(want, floor((room - granted) / keepers))
    mine.amount = mine.amount + granted
    fair = floor((room - granted) / keepers)
    changed['h:' .. holder] = text(mine.amount) .. ' ' .. text(mine.expires) .. ' ' .. text(mine.number)
  end

  local reply = { granted, used + granted, fair }
  if fresh and granted < need then
    for _, slice in ipairs(numbers) do
      reply[#reply + 1] = slice
      reply[#reply + 1] = spent[slice]
    end
  end
  replies[#replies + 1] = reply

  changed.seen = text(now)
  for field, value in pairs(changed) do
    if value then
      redis.call('HSET', key, field, value)
    else
      redis.call('HDEL', key, field)
    end
  end
  -- At least until nothing of it counts: a slice or a span more than the window, and what the lease dates later.
  local lasts = lease + (held and 0 or span == 'month' and 31 * 86400000000 or span == 'day' and 86400000000 or window + 2 * length)
  redis.call('PEXPIRE', key, text(floor(lasts / 1000) + 1000))
end

return { text(clock), replies }
