-- MessageU v2 and v3 for Wireshark and tshark, byte for byte: docs/protocol/v2.md and v3.md.
--
-- How to use it: docs/tools.md. It needs Wireshark 4.0 or newer.
--
-- A protocol here is a table: its fields, its experts, and a row for each code, with the least and
-- the most bytes of the payload and a function that reads it with a cursor. `dissect` is the same for
-- both: it cuts the stream into frames, judges each by its header, and lets the row read the rest.

local tcp_stream = Field.new("tcp.stream")

local REQUEST_HEADER_SIZE, ANSWER_HEADER_SIZE = 23, 7
local CLIENT_ID_SIZE, NAME_FIELD_SIZE, PUBLIC_KEY_SIZE = 16, 255, 160

-- What a peer sent, without anything that a terminal could take for a command.
local function escaped(raw)
  local doubled = raw:gsub("\\", "\\\\")
  return (doubled:gsub("[^\32-\126]", function(byte)
    return string.format("\\x%02x", byte:byte())
  end))
end

-- 16 bytes as a UUID in RFC order.
local function uuid(range)
  local hex = range:bytes():tohex(true)
  return hex:gsub("^(........)(....)(....)(....)(.*)$", "%1-%2-%3-%4-%5")
end

local function seconds_as_date(number)
  local seconds = number:tonumber()
  return seconds < 2 ^ 36 and os.date("!%Y-%m-%dT%H:%M:%SZ", seconds) or "far away"
end

-- A cursor ----------------------------------------------------------------------------------------

-- Reads the payload of one frame from `at` up to `finish`, and adds to `tree` what it finds.
local Cursor = {}
Cursor.__index = Cursor

function Cursor:left()
  return self.finish - self.at
end

-- The next bytes as a field; also gives their range. Numbers are little-endian.
function Cursor:add(field, size)
  local range = self.tvb(self.at, size)
  self.at = self.at + size
  return self.tree:add_le(field, range), range
end

-- 16 bytes of an id, in hexadecimal digits and in the form of a UUID.
function Cursor:add_id(field)
  local item, range = self:add(field, 16)
  local text = uuid(range)
  item:append_text(" (" .. text .. ")")
  item:add(self.protocol.fields.uuid, range, text):set_generated()
  return text
end

-- All that is left, which may be nothing: such a field has no bytes to show.
function Cursor:add_rest(field)
  if self:left() > 0 then
    self:add(field, self:left())
  end
end

-- A subtree of the next `size` bytes, and a cursor in it.
function Cursor:open(size, label)
  local tree = self.tree:add(self.protocol.proto, self.tvb(self.at, size), label)
  local inner = setmetatable({}, Cursor)
  for key, value in pairs(self) do
    inner[key] = value
  end
  inner.tree, inner.finish = tree, self.at + size
  self.at = self.at + size
  return inner
end

-- The frame is refused, and the connection goes on.
function Cursor:refuse(text)
  self.tree:add_proto_expert_info(self.protocol.experts.refused, text)
end

-- The frame makes no sense, and nothing that follows in this direction is read as a frame. The first
-- reason is enough.
function Cursor:reject(text)
  if self.rejected then
    return
  end
  self.tree:add_proto_expert_info(self.protocol.experts.malformed, text)
  self.rejected = true
end

-- Streams -----------------------------------------------------------------------------------------

-- What is remembered of the streams of one protocol.
local function nothing_seen()
  return {
    condemned = {}, -- stream and source port -> the frame after which nothing is read
    ends = {}, -- stream -> the port of the relay, where no registration tells it
    asked = {}, -- stream and number -> the frames of the requests
    answered = {}, -- the same -> the frames of the answers
    ordinals = {}, -- where frames without a correlation stand -> their number in the stream
    counts = {}, -- stream and direction -> how many frames there were
  }
end

-- The number that a request and its answer share, where the protocol has no correlation.
local function ordinal(seen, stream, is_request, pinfo, place)
  local key = pinfo.number .. ":" .. place
  if not seen.ordinals[key] then
    local direction = stream .. (is_request and ">" or "<")
    seen.counts[direction] = (seen.counts[direction] or 0) + 1
    seen.ordinals[key] = seen.counts[direction]
  end
  return seen.ordinals[key]
end

local function remember(numbers, key, number)
  local row = numbers[key] or {}
  numbers[key] = row
  if row[#row] ~= number then
    row[#row + 1] = number
  end
end

-- Says of a request which frame answers it, and of an answer which frame it answers.
local function link(protocol, stream, is_request, number, pinfo, tree)
  local seen, key = protocol.seen, stream .. ":" .. number
  if not pinfo.visited then
    remember(is_request and seen.asked or seen.answered, key, pinfo.number)
  end
  local other
  if is_request then
    for _, candidate in ipairs(seen.answered[key] or {}) do
      if candidate >= pinfo.number then
        other = candidate
        break
      end
    end
  else
    for _, candidate in ipairs(seen.asked[key] or {}) do
      if candidate <= pinfo.number then
        other = candidate
      end
    end
  end
  if other then
    local fields = protocol.fields
    tree:add(is_request and fields.answer_in or fields.request_in, other):set_generated()
  end
end

-- Frames ------------------------------------------------------------------------------------------

-- One frame that is there as a whole. Answers its label, and whether it was rejected.
local function dissect_frame(protocol, tvb, offset, size, is_request, stream, pinfo, root)
  local fields = protocol.fields
  local header_size = is_request and REQUEST_HEADER_SIZE or ANSWER_HEADER_SIZE
  local finish = math.min(offset + header_size + size, tvb:len())
  local tree = root:add(protocol.proto, tvb(offset, finish - offset))
  local cursor = setmetatable(
    { tvb = tvb, at = offset, finish = finish, tree = tree, protocol = protocol },
    Cursor
  )
  local header = cursor:open(header_size, "Header")
  if is_request then
    header:add_id(fields.client_id)
  end
  header:add(fields.version, 1)
  local _, code_range = header:add(fields.code, 2)
  header:add(fields.size, 4)

  local code = code_range:le_uint()
  local row = (is_request and protocol.requests or protocol.answers)[code]
  local label = code .. " " .. (row and row.name or "unknown")
  tree:append_text(", " .. label)

  local verdict = protocol.judge(tvb(offset, header_size), is_request, row, size)
  if verdict then
    cursor:reject(verdict)
    cursor:add_rest(fields.undecoded)
    return label .. " [malformed]", true, tree
  end
  local number
  if protocol.correlated then
    local _, range = cursor:add(fields.correlation, 4)
    number = range:le_uint()
    protocol.check_correlation(cursor, is_request, code, number)
  else
    number = ordinal(protocol.seen, stream, is_request, pinfo, tvb:len() .. ":" .. offset)
  end
  if not row then
    protocol.unknown(cursor, is_request)
  elseif row.read and not cursor.rejected then
    row.read(cursor, size)
  end
  if cursor:left() > 0 then
    cursor:add_rest(fields.undecoded)
  end
  if number ~= 0 then
    link(protocol, stream, is_request, number, pinfo, tree)
  end
  return label .. (cursor.rejected and " [malformed]" or ""), cursor.rejected, tree
end

-- Asks for more of the stream, or says that there is no more to be had.
local function wait_for(protocol, tvb, offset, missing, pinfo, root)
  if pinfo.can_desegment > 0 and tvb:len() == tvb:reported_len() then
    pinfo.desegment_offset = offset
    pinfo.desegment_len = missing
  else
    root
      :add(protocol.proto, tvb(offset))
      :add_proto_expert_info(protocol.experts.cut, "the rest of this frame was not captured")
  end
end

-- All frames of a piece of the stream. Answers how many bytes were taken.
local function dissect(protocol, is_request, tvb, pinfo, root)
  local header_size = is_request and REQUEST_HEADER_SIZE or ANSWER_HEADER_SIZE
  local stream = tostring(tcp_stream() and tcp_stream().value or 0)
  local direction = stream .. ":" .. pinfo.src_port
  local condemned = protocol.seen.condemned
  local labels, offset = {}, 0
  pinfo.cols.protocol = protocol.title
  while offset < tvb:len() do
    local left = tvb:len() - offset
    if condemned[direction] and condemned[direction] < pinfo.number then
      local tree = root:add(protocol.proto, tvb(offset), protocol.title .. ", not read any more")
      tree:add(protocol.fields.undecoded, tvb(offset))
      tree:add_proto_expert_info(protocol.experts.discarded, "it follows a malformed frame")
      labels[#labels + 1] = "[discarded]"
      break
    end
    if left < header_size then
      wait_for(protocol, tvb, offset, DESEGMENT_ONE_MORE_SEGMENT, pinfo, root)
      break
    end
    local header = tvb(offset, header_size)
    local size = header(header_size - 4, 4):le_uint()
    local row = protocol.row(header, is_request)
    -- What is refused by its header is not waited for.
    local hopeless = protocol.judge(header, is_request, row, size)
    if not hopeless and left < header_size + size then
      wait_for(protocol, tvb, offset, header_size + size - left, pinfo, root)
      break
    end
    local label, rejected, tree =
      dissect_frame(protocol, tvb, offset, size, is_request, stream, pinfo, root)
    labels[#labels + 1] = label
    offset = math.min(offset + header_size + size, tvb:len())
    if rejected then
      condemned[direction] = math.min(condemned[direction] or pinfo.number, pinfo.number)
      if offset < tvb:len() then
        tree:add(protocol.fields.undecoded, tvb(offset))
      end
      break
    end
  end
  if #labels > 0 then
    pinfo.cols.info:set(table.concat(labels, ", ") .. " ")
    pinfo.cols.info:fence()
  end
  return tvb:len()
end

-- A protocol with what both have: its header, its experts, and the memory of its streams.
local function new_protocol(name, title, description)
  local function named(suffix)
    return name .. "." .. suffix
  end
  local protocol = { title = title, proto = Proto(name, description), seen = nothing_seen() }
  protocol.fields = {
    client_id = ProtoField.bytes(named("client_id"), "Client id"),
    uuid = ProtoField.string(named("uuid"), "UUID"),
    version = ProtoField.uint8(named("version"), "Version"),
    size = ProtoField.uint32(named("size"), "Payload size"),
    undecoded = ProtoField.bytes(named("undecoded"), "Bytes that are not read"),
    request_in = ProtoField.framenum(named("request_in"), "Request in", base.NONE, frametype.REQUEST),
    answer_in = ProtoField.framenum(named("answer_in"), "Answer in", base.NONE, frametype.RESPONSE),
  }
  local function expert_of(suffix, text, group, severity)
    return ProtoExpert.new(named(suffix), text, group, severity)
  end
  protocol.experts = {
    malformed = expert_of(
      "malformed", "Malformed", expert.group.MALFORMED, expert.severity.ERROR
    ),
    refused = expert_of("refused", "Refused", expert.group.RESPONSE_CODE, expert.severity.WARN),
    discarded = expert_of(
      "discarded", "Not read any more", expert.group.PROTOCOL, expert.severity.WARN
    ),
    cut = expert_of("cut", "Cut short", expert.group.UNDECODED, expert.severity.NOTE),
  }
  function protocol.proto.init()
    protocol.seen = nothing_seen()
  end
  function protocol.row(header, is_request)
    if is_request then
      return protocol.requests[header(17, 2):le_uint()]
    end
    return protocol.answers[header(1, 2):le_uint()]
  end
  return protocol
end

-- Registers what is in the tables of a protocol.
local function finish_protocol(protocol)
  local names = {}
  for _, rows in ipairs({ protocol.requests, protocol.answers }) do
    for code, row in pairs(rows) do
      names[code] = row.name
    end
  end
  local name = protocol.proto.name:lower()
  protocol.fields.code = ProtoField.uint16(name .. ".code", "Code", base.DEC, names)
  protocol.proto.fields = protocol.fields
  protocol.proto.experts = protocol.experts
end

-- v2 ----------------------------------------------------------------------------------------------

local v2 = new_protocol("messageu", "MessageU", "MessageU v2")
v2.proto.prefs.content_limit = Pref.uint(
  "Content limit", 16 * 1024 * 1024 + 16, "The most bytes of a message's content that the relay takes"
)

local f2 = v2.fields
f2.name = ProtoField.string("messageu.name", "Name")
f2.public_key = ProtoField.bytes("messageu.public_key", "Public key")
f2.registered = ProtoField.bytes("messageu.registered", "Registered as")
f2.listed = ProtoField.bytes("messageu.listed", "Client")
f2.owner = ProtoField.bytes("messageu.owner", "Owner of the key")
f2.to = ProtoField.bytes("messageu.to", "To")
f2.from = ProtoField.bytes("messageu.from", "From")
f2.message_id = ProtoField.uint32("messageu.message_id", "Message id")
f2.type = ProtoField.uint8("messageu.type", "Type", base.DEC, {
  [1] = "key request", [2] = "symmetric key", [3] = "text", [4] = "file",
})
f2.content_size = ProtoField.uint32("messageu.content_size", "Content size")
f2.content = ProtoField.bytes("messageu.content", "Content")

-- A name in its field, up to its NUL; nil when there is none.
local function add_name(cursor)
  local range = cursor.tvb(cursor.at, NAME_FIELD_SIZE)
  local raw = range:raw()
  local ending = raw:find("\0", 1, true)
  local name = raw:sub(1, (ending or NAME_FIELD_SIZE + 1) - 1)
  cursor.tree:add(f2.name, range, escaped(name))
  cursor.at = cursor.at + NAME_FIELD_SIZE
  return ending and name, escaped(name)
end

-- The size of a content and the content, which end where `cursor` ends or before.
local function add_content(cursor)
  local _, range = cursor:add(f2.content_size, 4)
  return range:le_uint()
end

v2.requests = {
  [600] = {
    name = "register",
    least = NAME_FIELD_SIZE + PUBLIC_KEY_SIZE,
    most = NAME_FIELD_SIZE + PUBLIC_KEY_SIZE,
    read = function(cursor)
      local name = add_name(cursor)
      if not name then
        cursor:refuse("the name has no NUL")
      elseif not name:find("^[\32-\126]+$") then
        cursor:refuse("a name that cannot be registered")
      end
      cursor:add(f2.public_key, PUBLIC_KEY_SIZE)
    end,
  },
  [601] = { name = "clients list", least = 0, most = 0 },
  [602] = {
    name = "public key",
    least = CLIENT_ID_SIZE,
    most = CLIENT_ID_SIZE,
    read = function(cursor)
      cursor:add_id(f2.owner)
    end,
  },
  [603] = {
    name = "send message",
    least = 21,
    read = function(cursor)
      cursor:add_id(f2.to)
      cursor:add(f2.type, 1)
      if add_content(cursor) ~= cursor:left() then
        cursor:refuse("the content size disagrees with the payload")
      end
      cursor:add_rest(f2.content)
    end,
  },
  [604] = { name = "fetch messages", least = 0, most = 0 },
}

v2.answers = {
  [2100] = {
    name = "registered",
    least = CLIENT_ID_SIZE,
    most = CLIENT_ID_SIZE,
    read = function(cursor)
      cursor:add_id(f2.registered)
    end,
  },
  [2101] = {
    name = "clients list",
    least = 0,
    step = CLIENT_ID_SIZE + NAME_FIELD_SIZE,
    read = function(cursor)
      while cursor:left() > 0 do
        local client = cursor:open(CLIENT_ID_SIZE + NAME_FIELD_SIZE, "Client")
        client:add_id(f2.listed)
        local _, shown = add_name(client)
        client.tree:append_text(" " .. shown)
      end
    end,
  },
  [2102] = {
    name = "public key",
    least = CLIENT_ID_SIZE + PUBLIC_KEY_SIZE,
    most = CLIENT_ID_SIZE + PUBLIC_KEY_SIZE,
    read = function(cursor)
      cursor:add_id(f2.owner)
      cursor:add(f2.public_key, PUBLIC_KEY_SIZE)
    end,
  },
  [2103] = {
    name = "stored",
    least = 20,
    most = 20,
    read = function(cursor)
      cursor:add_id(f2.to)
      cursor:add(f2.message_id, 4)
    end,
  },
  [2104] = {
    name = "waiting messages",
    least = 0,
    read = function(cursor)
      while cursor:left() > 0 do
        if cursor:left() < 25 then
          return cursor:reject("the head of a message is cut off")
        end
        local size = cursor.tvb(cursor.at + 21, 4):le_uint()
        if size > cursor:left() - 25 then
          return cursor:reject("a message is longer than its answer")
        end
        local message = cursor:open(25 + size, "Message")
        message:add_id(f2.from)
        message:add(f2.message_id, 4)
        message:add(f2.type, 1)
        add_content(message)
        if size > v2.proto.prefs.content_limit then
          message:refuse("a message above the limit")
        end
        message:add_rest(f2.content)
      end
    end,
  },
  [9000] = { name = "general error", least = 0 },
}

-- What is wrong with a header, so that nothing after it can be trusted; nil when nothing is.
function v2.judge(_, is_request, row, size)
  local limit = v2.proto.prefs.content_limit
  if not row then
    if not is_request then
      return "an unknown code"
    end
    return size > math.max(415, 21 + limit) and "a payload above the limit" or nil
  end
  local most = row.most or (is_request and row.least + limit) or size
  if size < row.least or size > most or size % (row.step or 1) ~= 0 then
    return "a size that the code cannot have"
  end
end

function v2.unknown(cursor)
  cursor:refuse("an unknown code")
end

finish_protocol(v2)

function v2.proto.dissector(tvb, pinfo, root)
  -- The port by which it was found is the relay's.
  return dissect(v2, pinfo.src_port ~= pinfo.match_uint, tvb, pinfo, root)
end

DissectorTable.get("tcp.port"):add(1357, v2.proto)

-- v3 ----------------------------------------------------------------------------------------------

local v3 = new_protocol("messageu3", "MessageU v3", "MessageU v3")
v3.correlated = true
v3.proto.prefs.port = Pref.uint("Relay's port", 1358, "The TCP port of relays")
v3.proto.prefs.sealed_limit =
  Pref.uint("Sealed limit", 1024 * 1024, "The most bytes of an envelope that the relay takes")

local BUNDLE_SIZE, ONE_TIME_KEY_SIZE, ONE_TIME_KEYS_LIMIT = 1376, 104, 50
-- An envelope that is not larger than this above the limit is answered with too_large.
local FORGIVEN = 65536

local f3 = v3.fields
f3.correlation = ProtoField.uint32("messageu3.correlation", "Correlation")
f3.ed25519 = ProtoField.bytes("messageu3.ed25519", "Ed25519 key")
f3.curve25519 = ProtoField.bytes("messageu3.curve25519", "Curve25519 key")
f3.generation = ProtoField.uint64("messageu3.generation", "Generation")
f3.signature = ProtoField.bytes("messageu3.signature", "Signature")
f3.name_size = ProtoField.uint8("messageu3.name_size", "Name size")
f3.name = ProtoField.string("messageu3.name", "Name")
f3.token_size = ProtoField.uint8("messageu3.token_size", "Token size")
f3.token = ProtoField.bytes("messageu3.token", "Token")
f3.identity = ProtoField.bytes("messageu3.identity", "Identity")
f3.bundle_sequence = ProtoField.uint64("messageu3.bundle_sequence", "Sequence of the bundle")
f3.not_after = ProtoField.uint64("messageu3.not_after", "Not after")
f3.hpke_key_id = ProtoField.uint32("messageu3.hpke_key_id", "HPKE key id")
f3.ml_kem_key = ProtoField.bytes("messageu3.ml_kem_key", "ML-KEM-768 key")
f3.x25519_key = ProtoField.bytes("messageu3.x25519_key", "X25519 key")
f3.key_id = ProtoField.uint64("messageu3.key_id", "Key id")
f3.fallback_key = ProtoField.bytes("messageu3.fallback_key", "Fallback key")
f3.one_time_key = ProtoField.bytes("messageu3.one_time_key", "One-time key")
f3.reserved = ProtoField.uint32("messageu3.reserved", "Reserved")
f3.one_time_keys = ProtoField.uint16("messageu3.one_time_keys", "One-time keys")
f3.account_id = ProtoField.bytes("messageu3.account_id", "Account id")
f3.envelope_id = ProtoField.bytes("messageu3.envelope_id", "Envelope id")
f3.sealed = ProtoField.bytes("messageu3.sealed", "Sealed")
f3.window_messages = ProtoField.uint16("messageu3.window_messages", "Window, messages")
f3.window_bytes = ProtoField.uint32("messageu3.window_bytes", "Window, bytes")
f3.sequence = ProtoField.uint64("messageu3.sequence", "Sequence")
f3.nonce = ProtoField.bytes("messageu3.nonce", "Nonce")
f3.time = ProtoField.uint64("messageu3.time", "Time")
f3.sealed_limit = ProtoField.uint32("messageu3.sealed_limit", "Most bytes of an envelope")
f3.mailbox_messages = ProtoField.uint32("messageu3.mailbox_messages", "Mailbox, messages")
f3.mailbox_bytes = ProtoField.uint64("messageu3.mailbox_bytes", "Mailbox, bytes")
f3.mail_life = ProtoField.uint32("messageu3.mail_life", "Mail's life, seconds")
f3.idle = ProtoField.uint32("messageu3.idle", "Idle, seconds")
f3.registration = ProtoField.uint8("messageu3.registration", "Registration", base.DEC, {
  [0] = "open", [1] = "by token", [2] = "closed",
})
f3.registered = ProtoField.uint8("messageu3.registered", "Registered")
f3.retry_after = ProtoField.uint32("messageu3.retry_after", "Retry after, seconds")
f3.reason = ProtoField.uint16("messageu3.reason", "Reason", base.DEC, {
  [1] = "malformed", [2] = "unknown_request", [3] = "not_authenticated", [4] = "not_registered",
  [5] = "internal", [6] = "busy", [7] = "rate_limited", [8] = "out_of_turn", [9] = "auth_failed",
  [10] = "stale_state", [11] = "name_invalid", [12] = "name_taken", [13] = "registration_closed",
  [14] = "token_invalid", [15] = "not_found", [16] = "bad_signature", [17] = "stale_bundle",
  [18] = "too_many", [19] = "conflict", [20] = "mailbox_full", [21] = "too_large",
  [22] = "bad_window", [23] = "not_subscribed", [24] = "already_registered",
})

-- A time in seconds, and what the calendar says.
local function add_time(cursor, field)
  local item, range = cursor:add(field, 8)
  item:append_text(" (" .. seconds_as_date(range:le_uint64()) .. ")")
end

local function add_keys(cursor)
  cursor:add(f3.ed25519, 32)
  cursor:add(f3.curve25519, 32)
end

local function add_text(cursor, size)
  if size > 0 then
    local range = cursor.tvb(cursor.at, size)
    cursor.tree:add(f3.name, range, escaped(range:raw()))
    cursor.at = cursor.at + size
  end
end

local function add_bundle(cursor)
  local bundle = cursor:open(BUNDLE_SIZE, "Bundle")
  bundle:add(f3.identity, 32)
  bundle:add(f3.bundle_sequence, 8)
  add_time(bundle, f3.not_after)
  bundle:add(f3.hpke_key_id, 4)
  bundle:add(f3.ml_kem_key, 1184)
  bundle:add(f3.x25519_key, 32)
  bundle:add(f3.key_id, 8)
  bundle:add(f3.fallback_key, 32)
  local _, reserved = bundle:add(f3.reserved, 4)
  if reserved:le_uint() ~= 0 then
    cursor:reject("the reserved bytes of a bundle are not 0")
  end
  bundle:add(f3.signature, 64)
end

-- The one-time keys that are left, which must be as many as is said.
local function add_one_time_keys(cursor, count)
  if count * ONE_TIME_KEY_SIZE ~= cursor:left() then
    return cursor:reject("the count is not that of the one-time keys that follow")
  end
  for _ = 1, count do
    local key = cursor:open(ONE_TIME_KEY_SIZE, "One-time key")
    key:add(f3.key_id, 8)
    key:add(f3.one_time_key, 32)
    key:add(f3.signature, 64)
  end
end

local function add_key_count(cursor)
  cursor:add(f3.one_time_keys, 2)
end

local function add_sealed(cursor)
  cursor:add_id(f3.envelope_id)
  cursor:add(f3.hpke_key_id, 4)
  if cursor:left() > v3.proto.prefs.sealed_limit then
    cursor:refuse("an envelope above the limit")
  end
  cursor:add_rest(f3.sealed)
end

-- Sizes here are those of docs/protocol/v3.md: they include the correlation.
v3.requests = {
  [700] = { name = "hello", least = 4, most = 4 },
  [701] = {
    name = "authenticate",
    least = 140,
    most = 140,
    read = function(cursor)
      add_keys(cursor)
      cursor:add(f3.generation, 8)
      cursor:add(f3.signature, 64)
    end,
  },
  [702] = {
    name = "register",
    least = 6,
    most = 54,
    read = function(cursor)
      local _, name_size = cursor:add(f3.name_size, 1)
      name_size = name_size:le_uint()
      if name_size > 32 or name_size >= cursor:left() then
        return cursor:reject("a registration contradicts itself")
      end
      add_text(cursor, name_size)
      local _, token_size = cursor:add(f3.token_size, 1)
      token_size = token_size:le_uint()
      if (token_size ~= 0 and token_size ~= 16) or token_size ~= cursor:left() then
        return cursor:reject("a registration contradicts itself")
      end
      cursor:add_rest(f3.token)
    end,
  },
  [703] = {
    name = "resolve",
    least = 7,
    most = 36,
    read = function(cursor)
      add_text(cursor, cursor:left())
    end,
  },
  [704] = {
    name = "publish",
    least = 6 + BUNDLE_SIZE,
    most = 6 + BUNDLE_SIZE + ONE_TIME_KEYS_LIMIT * ONE_TIME_KEY_SIZE,
    read = function(cursor)
      add_bundle(cursor)
      local _, count = cursor:add(f3.one_time_keys, 2)
      add_one_time_keys(cursor, count:le_uint())
    end,
  },
  [705] = {
    name = "claim",
    least = 20,
    most = 20,
    read = function(cursor)
      cursor:add_id(f3.account_id)
    end,
  },
  [706] = {
    name = "send",
    least = 40,
    read = function(cursor)
      cursor:add_id(f3.account_id)
      add_sealed(cursor)
    end,
  },
  [707] = {
    name = "subscribe",
    least = 10,
    most = 10,
    read = function(cursor)
      cursor:add(f3.window_messages, 2)
      cursor:add(f3.window_bytes, 4)
    end,
  },
  [708] = {
    name = "acknowledge",
    least = 12,
    most = 8196,
    read = function(cursor)
      if cursor:left() % 8 ~= 0 then
        return cursor:reject("a sequence is cut off")
      end
      while cursor:left() > 0 do
        cursor:add(f3.sequence, 8)
      end
    end,
  },
  [709] = { name = "delete account", least = 4, most = 4 },
  [710] = { name = "ping", least = 4, most = 4 },
}

v3.answers = {
  [2700] = {
    name = "welcome",
    least = 78,
    most = 78,
    read = function(cursor)
      cursor:add(f3.nonce, 32)
      add_time(cursor, f3.time)
      cursor:add(f3.sealed_limit, 4)
      cursor:add(f3.mailbox_messages, 4)
      cursor:add(f3.mailbox_bytes, 8)
      cursor:add(f3.window_messages, 2)
      cursor:add(f3.window_bytes, 4)
      cursor:add(f3.one_time_keys, 2)
      cursor:add(f3.mail_life, 4)
      cursor:add(f3.idle, 4)
      local _, registration = cursor:add(f3.registration, 1)
      if registration:le_uint() > 2 then
        cursor:reject("a mode of registration that is not known")
      end
      cursor:add(f3.reserved, 1)
    end,
  },
  [2701] = {
    name = "authenticated",
    least = 7,
    most = 7,
    read = function(cursor)
      local _, registered = cursor:add(f3.registered, 1)
      if registered:le_uint() > 1 then
        cursor:reject("neither registered nor not")
      end
      add_key_count(cursor)
    end,
  },
  [2702] = { name = "registered", least = 4, most = 4 },
  [2703] = { name = "resolved", least = 68, most = 68, read = add_keys },
  [2704] = { name = "published", least = 6, most = 6, read = add_key_count },
  [2705] = {
    name = "claimed",
    least = 1445,
    most = 1549,
    read = function(cursor)
      add_keys(cursor)
      add_bundle(cursor)
      local _, count = cursor:add(f3.one_time_keys, 1)
      add_one_time_keys(cursor, count:le_uint())
    end,
  },
  [2706] = {
    name = "stored",
    least = 20,
    most = 20,
    read = function(cursor)
      cursor:add_id(f3.envelope_id)
    end,
  },
  [2707] = { name = "subscribed", least = 4, most = 4 },
  [2708] = { name = "acknowledged", least = 4, most = 4 },
  [2709] = { name = "deleted", least = 4, most = 4 },
  [2710] = { name = "pong", least = 4, most = 4 },
  [2720] = {
    name = "deliver",
    pushed = true,
    least = 32,
    read = function(cursor)
      cursor:add(f3.sequence, 8)
      add_sealed(cursor)
    end,
  },
  [2721] = { name = "displaced", pushed = true, least = 4, most = 4 },
  [2722] = { name = "prekeys low", pushed = true, least = 6, most = 6, read = add_key_count },
  [2723] = {
    name = "going away",
    pushed = true,
    least = 8,
    most = 8,
    read = function(cursor)
      cursor:add(f3.retry_after, 4)
    end,
  },
  [9001] = {
    name = "error",
    least = 10,
    most = 10,
    read = function(cursor)
      cursor:add(f3.reason, 2)
      cursor:add(f3.retry_after, 4)
    end,
  },
}

function v3.judge(header, is_request, row, size)
  if is_request and header(0, CLIENT_ID_SIZE):raw() ~= string.rep("\0", CLIENT_ID_SIZE) then
    return "a client id in the header"
  end
  if not row then
    if not is_request then
      return "an unknown code"
    end
    return (size < 4 or size > 65536) and "a size that no code can have" or nil
  end
  local forgiven = is_request and FORGIVEN or 0
  local most = row.most or row.least + v3.proto.prefs.sealed_limit + forgiven
  if size < row.least or size > most then
    return "a size that the code cannot have"
  end
end

function v3.check_correlation(cursor, is_request, code, number)
  local row = v3.answers[code]
  if is_request then
    if number == 0 then
      cursor:reject("a request without a correlation")
    end
  elseif code ~= 9001 and (row.pushed or false) ~= (number == 0) then
    cursor:reject("a correlation that the code cannot have")
  end
end

function v3.unknown(cursor)
  cursor:refuse("an unknown code")
end

finish_protocol(v3)

-- Whether what begins here goes to the relay. A request begins with 16 zeros, and no answer does.
local function goes_to_relay(tvb, pinfo)
  local port = v3.proto.prefs.port
  if pinfo.dst_port == port or pinfo.src_port == port then
    return pinfo.dst_port == port
  end
  local ends = v3.seen.ends
  local stream = tostring(tcp_stream() and tcp_stream().value or 0)
  if not ends[stream] and tvb:len() >= 3 then
    ends[stream] = tvb(0, 3):raw() == "\0\0\0" and pinfo.dst_port or pinfo.src_port
  end
  return ends[stream] == pinfo.dst_port
end

function v3.proto.dissector(tvb, pinfo, root)
  return dissect(v3, goes_to_relay(tvb, pinfo), tvb, pinfo, root)
end

-- Within TLS it is found by its ALPN, or by the relay's port where the ALPN is not in the capture; where
-- something else has decrypted it, by "Decode As". A heuristic would come before the port, and cannot tell
-- TLS to put a frame together that is in several records.
local registered_port

local function register_port()
  local port = v3.proto.prefs.port
  if port == registered_port then
    return
  end
  local tls_port, tcp_port = DissectorTable.get("tls.port"), DissectorTable.get("tcp.port")
  if registered_port then
    tls_port:remove(registered_port, v3.proto)
    tcp_port:remove(registered_port, Dissector.get("tls"))
  end
  tls_port:add(port, v3.proto)
  tcp_port:add(port, Dissector.get("tls"))
  registered_port = port
end

DissectorTable.get("tls.alpn"):add("messageu/3", v3.proto)
DissectorTable.get("tcp.port"):add_for_decode_as(v3.proto)
register_port()
v3.proto.prefs_changed = register_port
