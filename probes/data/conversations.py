"""The conversations that chat templates are tried on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

Message = dict[str, Any]


@dataclass(frozen=True)
class Conversation:
    """Messages in the form of transformers, and the tools that the model may call."""

    messages: tuple[Message, ...]
    tools: tuple[Message, ...] = ()
    is_begun: bool = False
    """Whether the last message is the beginning of an answer, which the model is to continue."""

    @property
    def awaits_answer(self) -> bool:
        """Whether an answer is to begin after the last message."""
        return bool(self.messages[-1]["role"] != "assistant")

    @property
    def answer(self) -> str:
        """The text of the last message."""
        return str(self.messages[-1]["content"])

    def with_answer(self, text: str) -> Conversation:
        """Return it with another text of its last message, as a whole answer."""
        last = {**self.messages[-1], "content": text}
        return replace(self, messages=(*self.messages[:-1], last), is_begun=False)

    def answered(self) -> Conversation:
        """Return it with an answer after its last message."""
        return replace(self, messages=(*self.messages, ANSWER))


ANSWER: Message = {"role": "assistant", "content": "Leonardo da Vinci."}
_SYSTEM: Message = {"role": "system", "content": "Answer in one sentence."}
_PAINTER: Message = {"role": "user", "content": "Who painted the Mona Lisa?"}
_WHEN: Message = {"role": "user", "content": "And when was that?"}
_RAIN: Message = {"role": "user", "content": "Does it rain in Tokyo?"}
_SIGNS: Message = {
    "role": "user",
    "content": "  What is 'a < b && c'?\n\n\t{{ bos_token }} {% if x %} \\n 日本語で「はい」 \n",
}

_WEATHER: Message = {
    "type": "function",
    "function": {
        "name": "current_weather",
        "description": "Return the weather <now> & the temperature in °C, as in '東京'.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Name of the city"}},
            "required": ["city"],
        },
    },
}
_CALL = "call00001"  # some templates ask for nine letters and digits
_CALLING: Message = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": _CALL,
            "type": "function",
            "function": {"name": "current_weather", "arguments": {"city": "東京"}},
        }
    ],
}
_RESULT: Message = {
    "role": "tool",
    "name": "current_weather",
    "tool_call_id": _CALL,
    "content": "rain, 12 °C",
}


def _begin(text: str, *before: Message) -> Conversation:
    return Conversation((*before, _PAINTER, {"role": "assistant", "content": text}), is_begun=True)


BEGUN = "The painter was"
SPACED = "a begun answer and a space"

CONVERSATIONS: dict[str, Conversation] = {
    "a question": Conversation((_PAINTER,)),
    "a system message": Conversation((_SYSTEM, _PAINTER)),
    "several turns": Conversation((_PAINTER, ANSWER, _WHEN)),
    "an answer": Conversation((_SYSTEM, _PAINTER, ANSWER)),
    "signs and spaces": Conversation((_SIGNS,)),
    "tools": Conversation((_RAIN,), (_WEATHER,)),
    "a tool's result": Conversation((_RAIN, _CALLING, _RESULT), (_WEATHER,)),
    "a begun answer": _begin(BEGUN),
    "a begun answer after an equal one": _begin(
        BEGUN, _WHEN, {"role": "assistant", "content": BEGUN}
    ),
    SPACED: _begin(BEGUN + " "),
    # What closes a turn often has these letters, as </s> and <|im_end|> have.
    "a begun answer of one letter": _begin("e"),
    "a begun answer of another letter": _begin("s"),
}
"""By name, in the order of the report."""
