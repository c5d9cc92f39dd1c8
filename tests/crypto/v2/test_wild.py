from twisted.trial.unittest import SynchronousTestCase

from messageu.crypto.v2 import PrivateKey, SymmetricKey, wrap
from messageu.model import ClientId
from messageu.wire import Parser
from messageu.wire.v2 import MessageType, Register, Request, RequestCodec, SendMessage
from tests.vectors import WildPeer, wild_peers


def requests_of(peer: WildPeer) -> list[Request]:
    """Every request of a peer, decoded."""
    decoded = []
    for request in peer.requests:
        parser = Parser(RequestCodec())
        parser.receive_data(request.frame)
        decoded.append(parser.next_event())
    return decoded


class WildClientTests(SynchronousTestCase):
    def test_public_keys(self):
        """The private keys that the wild clients kept belong to what they registered."""
        for peer in wild_peers():
            registered = {
                request.body.name.raw: request.body.public_key
                for request in requests_of(peer)
                if isinstance(request.body, Register)
            }
            kept = {
                identity.name: PrivateKey.from_der(identity.private_key).public_key
                for identity in peer.identities.values()
            }
            self.assertEqual(registered, kept)
            self.assertEqual(len(kept), 2)

    def test_messages(self):
        """What the wild clients sealed opens: the symmetric key, and a text each way."""
        opened = {}
        for peer in wild_peers():
            keys = {
                ClientId(identity.client_id): PrivateKey.from_der(identity.private_key)
                for identity in peer.identities.values()
            }
            texts = self.texts_of(peer, keys)
            if texts:
                opened[peer.label] = texts
        both = [b"hello-from-A-1234", b"reply from B 5678"]
        self.assertEqual(opened, {"peer-a": both, "peer-b": both})

    def texts_of(self, peer: WildPeer, keys: dict[ClientId, PrivateKey]) -> list[bytes]:
        shared: SymmetricKey | None = None
        texts = []
        for request in requests_of(peer):
            match request.body:
                case SendMessage(recipient, MessageType.SYMMETRIC_KEY, sealed):
                    shared = keys[recipient].unwrap(sealed)
                case SendMessage(_, MessageType.TEXT, sealed):
                    texts.append(shared.open(sealed))
                    self.assertEqual(shared.seal(texts[-1]), sealed)
        return texts

    def test_keys_can_be_answered(self):
        """A symmetric key can be sealed for every wild client, which opens it."""
        key = SymmetricKey(bytes(range(16)))
        for peer in wild_peers():
            for identity in peer.identities.values():
                private_key = PrivateKey.from_der(identity.private_key)
                self.assertEqual(private_key.unwrap(wrap(private_key.public_key, key)), key)
