# 获取所有用户
curl -H "Authorization: Bearer YOUR_API_KEY" \
     https://chat.example.com/api/admin/users

# 获取聊天记录
curl -H "Authorization: Bearer YOUR_API_KEY" \
     "https://chat.example.com/api/admin/history?type=single&toId=user_b&fromId=user_a"

# 创建群聊
curl -X POST \
     -H "Authorization: Bearer YOUR_API_KEY" \
     -H "Content-Type: application/json" \
     -d '{"id":"group_001","name":"客服群","creatorId":"admin_user"}' \
     https://chat.example.com/api/admin/group/create
