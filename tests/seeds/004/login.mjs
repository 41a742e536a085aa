// 登录获取 Token
const response = await fetch('https://chat.example.com/api/login', {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify({
    username: 'alice',
    password: 'password123'
  })
});
const { data } = await response.json();
const token = data.token;
