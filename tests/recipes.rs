//! docs/recipes.md, as it stands there, on real servers.

mod blocks;
