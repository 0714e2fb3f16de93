"""Hands a message to whatever an Apprise URL stands for: a chat, a mailbox, a pager."""

from __future__ import annotations

from apprise import Apprise, AppriseAsset, NotifyFormat, PersistentStoreMode

from worker.core.notices import Message
from worker.errors import Misconfigured, Unavailable
from worker.references import SecretReference


def send(receiver: SecretReference, message: Message) -> None:
    """Raises Misconfigured when the URL is none, Unavailable when the message was not taken. Neither quotes the URL:
    most of it is a secret."""
    asset = AppriseAsset(
        app_id="Trueup",
        app_desc="Trueup",
        async_mode=False,
        http_redirects=False,  # a message names people, and goes to nobody but the one whom the URL names
        interpret_emojis=False,
        interpret_escapes=False,
        plugin_paths=[],
        secure_logging=True,
        storage_mode=PersistentStoreMode.MEMORY,
    )
    apprise = Apprise(asset=asset)
    if not apprise.add(receiver.reveal()):
        raise Misconfigured(f"notify.urls: {receiver} is no URL that Apprise knows; see its list of services.")
    if not apprise.notify(title=message.title, body=message.body, body_format=NotifyFormat.TEXT):
        raise Unavailable(f"notify.urls: the service behind {receiver} did not take the message.")
