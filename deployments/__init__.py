"""What runs in the cluster: gateway, model manager and engine replicas. The only room that imports Ray or vLLM."""
