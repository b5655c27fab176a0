"""Act: policies, rollouts, the store of episodes."""
