"""Open, narrow, stream and simulate the 3D Mitochondria Shape Library."""
