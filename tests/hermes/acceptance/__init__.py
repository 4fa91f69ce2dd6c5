"""Four real gateways of Hermes at work on one board, with kill -9 at random: what must hold, holds."""
