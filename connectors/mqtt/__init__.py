"""mqtt: messages of an MQTT broker as mail, and mail as messages.

Promises: a message is acknowledged after its mail's commit, and a mail is delivered once the broker has it; at QoS 2
each is exactly once, also over a kill. Nobody publishes by mail whom no rule names, and an answer to a mail that came
from a topic finds its way back. A storm of messages becomes a handful of mails.
Refuses: wildcards and the broker's own topics as recipients, payloads that nothing can be made of (they are kept apart
with the reason), automatic mails as commands.
Known limits: at QoS 1 what was under way at a break may come twice; at QoS 0 it may not come at all.
"""

from connectors.mqtt.connector import Mqtt

__all__ = ["Mqtt"]
