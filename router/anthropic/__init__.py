"""Translation between OpenAI's chat completions and Anthropic's messages: dict in, dict out."""
