// Module Discovery.
