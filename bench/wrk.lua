-- Sends the requests of a file in turn, and prints a summary as JSON. Each request follows its length and a line break.
local requests, sent = {}, 0

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  local length = file:read("*n")
  while length do
    file:read(1)
    table.insert(requests, file:read(length))
    length = file:read("*n")
  end
  file:close()
end

function request()
  sent = sent + 1
  return requests[(sent - 1) % #requests + 1]
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout
  print(string.format(
    '\n{"responses": %d, "elapsed": %d, "failed": %d, "refused": %d, '
      .. '"percentiles": {"50": %d, "99": %d, "99.9": %d, "100": %d}}',
    summary.requests, summary.duration, failed, errors.status,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max
  ))
end
