"""Every column type of both servers, as Debezium really writes it."""
