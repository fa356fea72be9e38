"""Which message it is that ends connections."""

from syncd.sync.imap.losses import Losses


async def test_message_that_is_lost_alone_while_others_come_is_the_culprit() -> None:
    """A lost connection suspects all that was on its way; what comes is suspected no longer."""
    losses = Losses()

    losses.lost((1, 2, 3))
    losses.came(1)
    losses.came(3)

    assert [losses.is_suspected(message) for message in (1, 2, 3)] == [False, True, False]
    assert losses.is_culprit(2)


async def test_server_that_gives_nothing_at_all_blames_no_message_soon() -> None:
    """Losses without anything that came between them are the server's; the least tried message is known."""
    losses = Losses()

    losses.lost((1, 2))

    assert not losses.is_culprit(1)
    assert not losses.is_culprit(2)
    assert (losses.lost_alone(1), losses.lost_alone(2), losses.lost_alone(3)) == (1, 1, 0)


async def test_only_message_of_a_server_is_the_culprit_after_a_few_losses() -> None:
    """Where nothing else could come, its own losses are enough."""
    losses = Losses()

    assert [losses.is_culprit(1) for _ in range(3)] == [False, False, True]


async def test_few_connections_are_made_at_once() -> None:
    """Only after a loss in a mailbox, once for each, and not without end."""
    losses = Losses()
    assert not losses.may_connect_at_once()

    losses.at_mailbox()
    assert losses.may_connect_at_once()
    assert not losses.may_connect_at_once()
    again = 1
    for _ in range(10):
        losses.at_mailbox()
        again += losses.may_connect_at_once()

    assert again == 4
