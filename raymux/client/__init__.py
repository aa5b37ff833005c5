"""The client library: official OpenAI clients with what raymux adds to the API."""
