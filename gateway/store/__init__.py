"""What the gateway remembers: tables, content-addressed blobs, the audit chain."""
