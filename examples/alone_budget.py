"""The budget alone: a raw SDK loop that can cost five cents and not one more. No App, no run, no record.

Before each call its worst case is put aside: one token per byte of the prompt, and all of `max_tokens`. What does not
fit is not sent. Run it: `ANTHROPIC_API_KEY=… python examples/alone_budget.py`
"""

from anthropic import Anthropic

import holdfast as hf

TOPICS = ("tea", "rain", "ink", "salt", "moss", "snow", "glass", "bread")
USD_IN, USD_OUT, TOKENS_OUT = 3e-6, 15e-6, 400  # a token in, a token out, and how many may come out


def line(client: Anthropic, meter: hf.Meter, topic: str) -> str:
    prompt = f"Write one line about {topic}. No title."
    worst = (len(prompt.encode()) + 50) * USD_IN + TOKENS_OUT * USD_OUT
    with meter.reserve(model_calls=1, usd=worst) as call:
        reply = client.messages.create(
            model="claude-sonnet-5", max_tokens=TOKENS_OUT, messages=[{"role": "user", "content": prompt}]
        )
        usage = reply.usage
        call.settle(model_calls=1, usd=usage.input_tokens * USD_IN + usage.output_tokens * USD_OUT)
    return reply.content[0].text  # type: ignore[union-attr]


def main(usd: float = 0.05) -> list[str]:
    meter, lines = hf.Meter(hf.Budget(model_calls=20, usd=usd)), []
    with Anthropic() as client:
        try:
            for topic in TOPICS:
                lines.append(line(client, meter, topic))
        except hf.errors.BudgetExceeded as full:
            lines.append(f"Stopped: {full}")
    return lines


if __name__ == "__main__":
    print("\n".join(main()))
