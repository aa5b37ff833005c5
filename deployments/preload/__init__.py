"""Processes with vLLM imported, from which engine replicas on the CPU start; raymux works without them, only slower."""
