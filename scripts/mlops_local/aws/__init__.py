"""AWS on one machine: moto, with our own services in front of it for what it lacks."""
