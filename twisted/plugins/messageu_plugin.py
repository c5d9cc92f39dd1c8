"""Makes ``twistd messageu`` and ``twist messageu`` known. It imports nothing of the application."""

from twisted.application.service import ServiceMaker

messageu = ServiceMaker(
    "MessageU relay",
    "messageu.tap",
    "A store-and-forward relay for end-to-end encrypted messages.",
    "messageu",
)
