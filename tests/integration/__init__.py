"""Whole ways through real peers: real mail servers, clients and databases around a running gateway."""
