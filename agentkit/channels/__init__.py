"""The frontends, siblings behind `agentkit.channel.Channel`."""
