DROP TABLE conversation_analyses;
DROP TABLE conversation_messages;
DROP TABLE conversations;
