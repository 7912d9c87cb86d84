-- Sends the bytes of a file as the request, again and again.
local bytes

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  bytes = file:read("*a")
  file:close()
end

function request()
  return bytes
end
