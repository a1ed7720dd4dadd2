"""The building blocks of random session histories, and what reads must return."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from sessions_server.domain.commit import Commit
from sessions_server.domain.context import Change, Set
from sessions_server.domain.models import (
    Message,
    MessageBody,
    MessageDraft,
    Session,
    SessionConfig,
    StorageOptions,
)
from sessions_server.domain.operations import (
    Append,
    ChangeContext,
    ClearHistory,
    EraseMessage,
    Part,
    SetContext,
    Truncate,
    Update,
)
from tests.conformance.harness import key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sessions_server.domain.commit import Committed
    from sessions_server.domain.models import JsonObject
    from sessions_server.domain.operations import Operation

T = TypeVar("T")

KEYS: Final = tuple(map(key, ("a", "b", "c")))
FEW: Final = 3
SEED: Final = 3
CHOSEN: Final = [f"chosen{number}" for number in range(8)]
STEP: Final = 4
"""How many rows one erasure step handles."""
WORD: Final = re.compile(r"w\d{5}w")
DAY: Final = 24 * 3600


def words_of(data: JsonObject | str) -> set[str]:
    """The words made up by the test."""
    return set(WORD.findall(str(data)))


def receipt(message: Message) -> tuple[str, int, int]:
    return message.id, message.sequence, message.create_time


def _truncated(places: list[int], part: Part, amount: int) -> list[int]:
    """The positions of the messages that a truncation removes."""
    match part:
        case Part.AFTER:
            return [place for place in places if place > amount]
        case Part.THROUGH:
            return [place for place in places if place <= amount]
        case Part.NEWEST:
            return places[-amount:]
        case Part.OLDEST:
            return places[:amount]


def _remove(messages: dict[int, tuple[str, str]], places: Iterable[int]) -> None:
    for place in places:
        del messages[place]


class Used(NamedTuple):
    """A commit with a request id, its result, and the log it was made in."""

    commit: Commit
    first: Committed
    log_id: str


@dataclass
class Modelled:
    """What reads of one session must return."""

    messages: dict[int, tuple[str, str]] = field(default_factory=dict)
    """The ids and texts of the history, by position."""
    context: JsonObject = field(default_factory=dict)
    most: int = 0
    past: dict[int, tuple[Session, JsonObject]] = field(default_factory=dict)
    """The state after each commit, by position."""
    oldest: int = 0
    """The first position that is kept, as far as the model knows."""
    is_compacted: bool = False
    log_id: str = ""
    written: set[str] = field(default_factory=set)
    """Words of all contexts that are kept."""
    ends: int | None = None

    @property
    def words(self) -> set[str]:
        """All words that may be stored."""
        return self.written | {text for _, text in self.messages.values()}

    @property
    def head(self) -> int:
        return max(self.past)


class Choices:
    """Random choices of what to do next."""

    def __init__(self) -> None:
        self._random = random.Random(SEED)
        self._number = 0

    def word(self) -> str:
        self._number += 1
        return f"w{self._number:05}w"

    def operations(self, session: Modelled) -> list[Operation]:
        """The operations of one commit: several of one kind, or several that do not need an existing message."""
        if self._random.random() < 0.1:
            kinds = self._random.choices(("add", "truncate", "set", "clear", "change", "limit"), k=4)
        else:
            kinds = self._random.choices(
                ("add", "chosen", "truncate", "clear", "erase", "limit", "set", "change", "forget"),
                weights=(3, 1, 1, 1, 1, 1, 2, 2, 1),
            )
        return [each for kind in kinds for each in self._operations_of(kind, session)]

    def _operations_of(self, kind: str, session: Modelled) -> Iterable[Operation]:
        rng, ids = self._random, [id_ for id_, _ in session.messages.values()]
        match kind:
            case "add":
                for word in [self.word() for _ in range(rng.choice((1, 2, 5, 12)))]:
                    yield Append(MessageDraft(f"id{word[1:-1]}", MessageBody("user", word)))
            case "chosen":
                for id_ in rng.sample(CHOSEN, 3):
                    if id_ not in ids:
                        yield self._chosen(id_)
            case "truncate":
                part = rng.choice(list(Part))
                is_count = part in (Part.NEWEST, Part.OLDEST)
                yield Truncate(part, rng.choice((1, 2, 6, 20)) if is_count else rng.randint(0, session.head))
            case "clear":
                yield ClearHistory()
            case "erase" if ids:
                yield EraseMessage(rng.choice(ids))
            case "limit":
                config = SessionConfig(max_messages=rng.choice((0, 0, 2, 5, 9, 30)))
                yield Update(("config.max_messages",), {}, config, StorageOptions())
            case "set" | "forget":
                padding = "x" * rng.choice((0, 80, 300, 2000))
                yield SetContext({"n": self.word(), "padding": padding}, kind == "forget")
            case "change":
                name = rng.choice("nkm")
                yield ChangeContext((Change(name, (name,), Set(self.word())),))

    def take(self, session: Modelled, operations: Iterable[Operation], new: Iterable[Message]) -> bool:
        """Updates the model; returns whether the past is forgotten."""
        forgets, messages, added = False, session.messages, iter(new)
        for each in operations:
            match each:
                case Append(draft):
                    message = next(added)
                    assert message.body.content == draft.body.content
                    messages[message.sequence] = (message.id, message.body.content)
                    if session.most:
                        _remove(messages, sorted(messages)[: -session.most])
                case Truncate(part, amount):
                    _remove(messages, _truncated(sorted(messages), part, amount))
                case ClearHistory():
                    messages.clear()
                case EraseMessage(erased):
                    _remove(messages, [place for place, (id_, _) in messages.items() if id_ == erased])
                case Update():
                    session.most = each.config.max_messages
                case SetContext(data, forget):
                    session.context, forgets = data, forgets or forget
                case ChangeContext([Change(name, _, Set(value))], _):
                    session.context = {**session.context, name: value}
            session.written |= words_of(session.context)
        return forgets

    def _chosen(self, message_id: str) -> Append:
        return Append(MessageDraft(message_id, MessageBody("user", self.word()), chosen=True))
