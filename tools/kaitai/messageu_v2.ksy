# MessageU v2, byte for byte: docs/protocol/v2.md says what the fields mean, docs/tools.md how to use this.
#
# There are two roots, as the two directions of a connection have headers of their own, and nothing in
# a stream says which direction it is: `requests` is what a client has sent, `answers` what a relay has.
# An unknown code's payload is bytes. That a relay refuses sizes above its limits is no matter of the form.
meta:
  id: messageu_v2
  title: MessageU v2
  endian: le
  ks-version: "0.10"
params:
  - id: is_requests
    type: bool
    doc: Whether this is what a client has sent.
seq:
  - id: requests
    type: request
    repeat: eos
    if: is_requests
  - id: answers
    type: answer
    repeat: eos
    if: not is_requests
types:
  request:
    seq:
      - id: client_id
        size: 16
        doc: Who asks, as a UUID in RFC order. In a registration it means nothing.
      - id: version
        type: u1
        doc: A relay takes any.
      - id: code
        type: u2
        enum: request_code
      - id: payload_size
        type: u4
      - id: payload
        size: payload_size
        type:
          switch-on: code
          cases:
            "request_code::register": register
            "request_code::clients_list": nothing
            "request_code::public_key": public_key_request
            "request_code::send_message": send_message
            "request_code::fetch_messages": nothing
  answer:
    seq:
      - id: version
        type: u1
        doc: A client takes any.
      - id: code
        type: u2
        enum: answer_code
      - id: payload_size
        type: u4
      - id: payload
        size: payload_size
        type:
          switch-on: code
          cases:
            "answer_code::registered": registered
            "answer_code::clients_list": clients_list
            "answer_code::public_key": public_key_answer
            "answer_code::stored": stored
            "answer_code::waiting_messages": waiting_messages
  nothing:
    seq:
      - id: nothing
        size: 0
  register:
    seq:
      - id: name
        type: name
        size: 255
      - id: public_key
        size: 160
        doc: The DER of an X.509 SubjectPublicKeyInfo, into which a relay does not look.
  name:
    seq:
      - id: value
        terminator: 0
        eos-error: false
        doc: |
          Bytes before the first NUL, without it. They are ASCII, if a relay has registered them. A name
          without a NUL has 255; a relay registers none.
      - id: rest
        size-eos: true
        doc: Discarded on input, and zero on output.
  public_key_request:
    seq:
      - id: owner
        size: 16
  send_message:
    seq:
      - id: recipient
        size: 16
      - id: type
        type: u1
        enum: message_type
      - id: content_size
        type: u4
      - id: content
        size: content_size
  registered:
    seq:
      - id: client_id
        size: 16
  clients_list:
    seq:
      - id: clients
        type: listed_client
        repeat: eos
  listed_client:
    seq:
      - id: client_id
        size: 16
      - id: name
        type: name
        size: 255
  public_key_answer:
    seq:
      - id: owner
        size: 16
      - id: public_key
        size: 160
  stored:
    seq:
      - id: recipient
        size: 16
      - id: message_id
        type: u4
  waiting_messages:
    seq:
      - id: messages
        type: waiting_message
        repeat: eos
  waiting_message:
    seq:
      - id: sender
        size: 16
      - id: message_id
        type: u4
      - id: type
        type: u1
        enum: message_type
      - id: content_size
        type: u4
      - id: content
        size: content_size
enums:
  request_code:
    600: register
    601: clients_list
    602: public_key
    603: send_message
    604: fetch_messages
  answer_code:
    2100: registered
    2101: clients_list
    2102: public_key
    2103: stored
    2104: waiting_messages
    9000: general_error
  message_type:
    1: key_request
    2: symmetric_key
    3: text
    4: file
