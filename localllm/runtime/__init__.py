"""Plans of kernel calls and the team of threads that replays them."""
