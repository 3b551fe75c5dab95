"""HTTP webhooks for Gatepost: mail goes to an application as signed JSON, and comes from it by an authenticated POST.

The forms on the wire are in docs/connectors/webhook.md of Gatepost.
"""

from gatepost_webhook.connector import Webhook

__all__ = ["Webhook"]
