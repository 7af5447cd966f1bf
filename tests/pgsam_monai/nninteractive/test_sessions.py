from pgsam_monai.nninteractive.sessions import Client, Sessions


def test_clients_are_told_apart_by_address_and_name():
    sessions = Sessions()
    ours = sessions.opened(Client("127.0.0.1"))
    assert sessions.known(Client("127.0.0.1")) is sessions.opened(Client("127.0.0.1")) is ours
    assert sessions.known(Client("127.0.0.2")) is not ours
    assert sessions.opened(Client("127.0.0.1", "anna")) is not ours


def test_asking_opens_nothing():
    sessions = Sessions(most=1)
    kept = sessions.opened(Client("a"))
    for number in range(5):
        assert sessions.known(Client("b", str(number))) is None
    assert sessions.known(Client("a")) is kept


def test_the_longest_unused_is_closed():
    sessions = Sessions(most=2)
    first, second = sessions.opened(Client("a")), sessions.opened(Client("b"))
    sessions.known(Client("a"))
    sessions.opened(Client("c"))
    assert sessions.known(Client("a")) is first and sessions.known(Client("b")) is not second


def test_who_goes_is_forgotten():
    sessions = Sessions()
    sessions.opened(Client("a"))
    sessions.close(Client("a"))
    sessions.close(Client("a"))
    assert sessions.known(Client("a")) is None
