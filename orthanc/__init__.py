"""A thin REST client for Orthanc."""
