"""What talks to a running gateway from outside: over HTTP, and by sending it studies."""
