//! Benchmarks of Ringway; each bench target under `benches/` is one of them.
