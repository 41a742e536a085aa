curl "http://localhost:8070/api/contacts?guid=xxx&page=1&limit=10"
curl "http://localhost:8070/api/messages?guid=xxx&conversation_id=S:user_123&page=1&limit=10"
curl "http://localhost:8070/api/rooms?guid=xxx&page=1&limit=10"
curl "http://localhost:8070/api/sync-status?guid=xxx"
