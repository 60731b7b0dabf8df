"""What a training step depends on, kind by kind: small loops, each of which a session follows or refuses."""
