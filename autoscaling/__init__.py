"""Pure decisions about capacity: the life of a variant, its replicas and when they leave."""
