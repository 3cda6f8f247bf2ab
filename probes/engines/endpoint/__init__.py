"""The endpoint engine: a model that a server computes, behind an OpenAI-compatible address."""
