"""EM segmentations, larger than memory, as a source of instances: volume, objects, meshes, records."""
