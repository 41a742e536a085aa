import requests

# 创建实例
api_key = "YOUR_API_KEY"
base_url = "https://api.example.com/api"

# 授权请求头
headers = {
    "x-api-key": api_key,
    "Content-Type": "application/json"
}

# 创建新实例
instance_data = {
    "name": "主要 WhatsApp",
    "description": "公司账户",
    "webhookUrl": "https://your-webhook.com/whatsapp"
}

response = requests.post(f"{base_url}/instances", 
                        headers=headers, 
                        json=instance_data)
instance = response.json()
instance_id = instance["id"]

# 发送消息
message_data = {
    "phone": "79001234567",
    "message": "你好！这是一条测试消息。"
}

response = requests.post(f"{base_url}/whatsapp/{instance_id}/send", 
                        headers=headers, 
                        json=message_data)
result = response.json()
print(f"消息已发送，ID: {result['id']}")
