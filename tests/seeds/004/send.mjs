await fetch('https://chat.example.com/api/message/send', {
  method: 'POST',
  headers: {
    'Content-Type': 'application/json',
    'Authorization': `Bearer ${token}`
  },
  body: JSON.stringify({
    id: generateUUID(),
    fromId: 'bot_user',
    toId: 'target_user',
    chatType: 'single',
    content: '系统通知:您的订单已发货',
    contentType: 'text'
  })
});
