# By kaitai-struct-compiler 0.11.0; SHA-256 of messageu_v2.ksy, and of what follows:
# 3e0ce4ec23042f6d11403a0ba3b7c9a87a58bd0e28f1e8f94a5f9551a6b411d9
# db0b28f2a13965353a4598e621953aeef387345314383657752fef73ea7497e9
# This is a generated file! Please edit source .ksy file and use kaitai-struct-compiler to rebuild
# type: ignore

import kaitaistruct
from kaitaistruct import KaitaiStruct, KaitaiStream, BytesIO
from enum import IntEnum


if getattr(kaitaistruct, 'API_VERSION', (0, 9)) < (0, 11):
    raise Exception("Incompatible Kaitai Struct Python API: 0.11 or later is required, but you have %s" % (kaitaistruct.__version__))

class MessageuV2(KaitaiStruct):

    class AnswerCode(IntEnum):
        registered = 2100
        clients_list = 2101
        public_key = 2102
        stored = 2103
        waiting_messages = 2104
        general_error = 9000

    class MessageType(IntEnum):
        key_request = 1
        symmetric_key = 2
        text = 3
        file = 4

    class RequestCode(IntEnum):
        register = 600
        clients_list = 601
        public_key = 602
        send_message = 603
        fetch_messages = 604
    def __init__(self, is_requests, _io, _parent=None, _root=None):
        super(MessageuV2, self).__init__(_io)
        self._parent = _parent
        self._root = _root or self
        self.is_requests = is_requests
        self._read()

    def _read(self):
        if self.is_requests:
            pass
            self.requests = []
            i = 0
            while not self._io.is_eof():
                self.requests.append(MessageuV2.Request(self._io, self, self._root))
                i += 1


        if (not (self.is_requests)):
            pass
            self.answers = []
            i = 0
            while not self._io.is_eof():
                self.answers.append(MessageuV2.Answer(self._io, self, self._root))
                i += 1




    def _fetch_instances(self):
        pass
        if self.is_requests:
            pass
            for i in range(len(self.requests)):
                pass
                self.requests[i]._fetch_instances()


        if (not (self.is_requests)):
            pass
            for i in range(len(self.answers)):
                pass
                self.answers[i]._fetch_instances()



    class Answer(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(MessageuV2.Answer, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.version = self._io.read_u1()
            self.code = KaitaiStream.resolve_enum(MessageuV2.AnswerCode, self._io.read_u2le())
            self.payload_size = self._io.read_u4le()
            _on = self.code
            if _on == MessageuV2.AnswerCode.clients_list:
                pass
                self._raw_payload = self._io.read_bytes(self.payload_size)
                _io__raw_payload = KaitaiStream(BytesIO(self._raw_payload))
                self.payload = MessageuV2.ClientsList(_io__raw_payload, self, self._root)
            elif _on == MessageuV2.AnswerCode.public_key:
                pass
                self._raw_payload = self._io.read_bytes(self.payload_size)
                _io__raw_payload = KaitaiStream(BytesIO(self._raw_payload))
                self.payload = MessageuV2.PublicKeyAnswer(_io__raw_payload, self, self._root)
            elif _on == MessageuV2.AnswerCode.registered:
                pass
                self._raw_payload = self._io.read_bytes(self.payload_size)
                _io__raw_payload = KaitaiStream(BytesIO(self._raw_payload))
                self.payload = MessageuV2.Registered(_io__raw_payload, self, self._root)
            elif _on == MessageuV2.AnswerCode.stored:
                pass
                self._raw_payload = self._io.read_bytes(self.payload_size)
                _io__raw_payload = KaitaiStream(BytesIO(self._raw_payload))
                self.payload = MessageuV2.Stored(_io__raw_payload, self, self._root)
            elif _on == MessageuV2.AnswerCode.waiting_messages:
                pass
                self._raw_payload = self._io.read_bytes(self.payload_size)
                _io__raw_payload = KaitaiStream(BytesIO(self._raw_payload))
                self.payload = MessageuV2.WaitingMessages(_io__raw_payload, self, self._root)
            else:
                pass
                self.payload = self._io.read_bytes(self.payload_size)


        def _fetch_instances(self):
            pass
            _on = self.code
            if _on == MessageuV2.AnswerCode.clients_list:
                pass
                self.payload._fetch_instances()
            elif _on == MessageuV2.AnswerCode.public_key:
                pass
                self.payload._fetch_instances()
            elif _on == MessageuV2.AnswerCode.registered:
                pass
                self.payload._fetch_instances()
            elif _on == MessageuV2.AnswerCode.stored:
                pass
                self.payload._fetch_instances()
            elif _on == MessageuV2.AnswerCode.waiting_messages:
                pass
                self.payload._fetch_instances()
            else:
                pass


    class ClientsList(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(MessageuV2.ClientsList, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.clients = []
            i = 0
            while not self._io.is_eof():
                self.clients.append(MessageuV2.ListedClient(self._io, self, self._root))
                i += 1



        def _fetch_instances(self):
            pass
            for i in range(len(self.clients)):
                pass
                self.clients[i]._fetch_instances()



    class ListedClient(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(MessageuV2.ListedClient, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.client_id = self._io.read_bytes(16)
            self._raw_name = self._io.read_bytes(255)
            _io__raw_name = KaitaiStream(BytesIO(self._raw_name))
            self.name = MessageuV2.Name(_io__raw_name, self, self._root)


        def _fetch_instances(self):
            pass
            self.name._fetch_instances()


    class Name(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(MessageuV2.Name, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.value = self._io.read_bytes_term(0, False, True, False)
            self.rest = self._io.read_bytes_full()


        def _fetch_instances(self):
            pass


    class Nothing(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(MessageuV2.Nothing, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.nothing = self._io.read_bytes(0)


        def _fetch_instances(self):
            pass


    class PublicKeyAnswer(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(MessageuV2.PublicKeyAnswer, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.owner = self._io.read_bytes(16)
            self.public_key = self._io.read_bytes(160)


        def _fetch_instances(self):
            pass


    class PublicKeyRequest(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(MessageuV2.PublicKeyRequest, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.owner = self._io.read_bytes(16)


        def _fetch_instances(self):
            pass


    class Register(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(MessageuV2.Register, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self._raw_name = self._io.read_bytes(255)
            _io__raw_name = KaitaiStream(BytesIO(self._raw_name))
            self.name = MessageuV2.Name(_io__raw_name, self, self._root)
            self.public_key = self._io.read_bytes(160)


        def _fetch_instances(self):
            pass
            self.name._fetch_instances()


    class Registered(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(MessageuV2.Registered, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.client_id = self._io.read_bytes(16)


        def _fetch_instances(self):
            pass


    class Request(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(MessageuV2.Request, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.client_id = self._io.read_bytes(16)
            self.version = self._io.read_u1()
            self.code = KaitaiStream.resolve_enum(MessageuV2.RequestCode, self._io.read_u2le())
            self.payload_size = self._io.read_u4le()
            _on = self.code
            if _on == MessageuV2.RequestCode.clients_list:
                pass
                self._raw_payload = self._io.read_bytes(self.payload_size)
                _io__raw_payload = KaitaiStream(BytesIO(self._raw_payload))
                self.payload = MessageuV2.Nothing(_io__raw_payload, self, self._root)
            elif _on == MessageuV2.RequestCode.fetch_messages:
                pass
                self._raw_payload = self._io.read_bytes(self.payload_size)
                _io__raw_payload = KaitaiStream(BytesIO(self._raw_payload))
                self.payload = MessageuV2.Nothing(_io__raw_payload, self, self._root)
            elif _on == MessageuV2.RequestCode.public_key:
                pass
                self._raw_payload = self._io.read_bytes(self.payload_size)
                _io__raw_payload = KaitaiStream(BytesIO(self._raw_payload))
                self.payload = MessageuV2.PublicKeyRequest(_io__raw_payload, self, self._root)
            elif _on == MessageuV2.RequestCode.register:
                pass
                self._raw_payload = self._io.read_bytes(self.payload_size)
                _io__raw_payload = KaitaiStream(BytesIO(self._raw_payload))
                self.payload = MessageuV2.Register(_io__raw_payload, self, self._root)
            elif _on == MessageuV2.RequestCode.send_message:
                pass
                self._raw_payload = self._io.read_bytes(self.payload_size)
                _io__raw_payload = KaitaiStream(BytesIO(self._raw_payload))
                self.payload = MessageuV2.SendMessage(_io__raw_payload, self, self._root)
            else:
                pass
                self.payload = self._io.read_bytes(self.payload_size)


        def _fetch_instances(self):
            pass
            _on = self.code
            if _on == MessageuV2.RequestCode.clients_list:
                pass
                self.payload._fetch_instances()
            elif _on == MessageuV2.RequestCode.fetch_messages:
                pass
                self.payload._fetch_instances()
            elif _on == MessageuV2.RequestCode.public_key:
                pass
                self.payload._fetch_instances()
            elif _on == MessageuV2.RequestCode.register:
                pass
                self.payload._fetch_instances()
            elif _on == MessageuV2.RequestCode.send_message:
                pass
                self.payload._fetch_instances()
            else:
                pass


    class SendMessage(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(MessageuV2.SendMessage, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.recipient = self._io.read_bytes(16)
            self.type = KaitaiStream.resolve_enum(MessageuV2.MessageType, self._io.read_u1())
            self.content_size = self._io.read_u4le()
            self.content = self._io.read_bytes(self.content_size)


        def _fetch_instances(self):
            pass


    class Stored(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(MessageuV2.Stored, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.recipient = self._io.read_bytes(16)
            self.message_id = self._io.read_u4le()


        def _fetch_instances(self):
            pass


    class WaitingMessage(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(MessageuV2.WaitingMessage, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.sender = self._io.read_bytes(16)
            self.message_id = self._io.read_u4le()
            self.type = KaitaiStream.resolve_enum(MessageuV2.MessageType, self._io.read_u1())
            self.content_size = self._io.read_u4le()
            self.content = self._io.read_bytes(self.content_size)


        def _fetch_instances(self):
            pass


    class WaitingMessages(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(MessageuV2.WaitingMessages, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.messages = []
            i = 0
            while not self._io.is_eof():
                self.messages.append(MessageuV2.WaitingMessage(self._io, self, self._root))
                i += 1



        def _fetch_instances(self):
            pass
            for i in range(len(self.messages)):
                pass
                self.messages[i]._fetch_instances()




