"""An MCP server over stdio: the board as tools for an agent that works as one profile."""
