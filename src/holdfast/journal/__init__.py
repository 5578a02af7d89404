"""Where it is written: the codec and the engines that keep events, heads and mail."""
