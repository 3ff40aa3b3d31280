"""Makes test/golden/mistral-chat.json: chats by the chat templates of Mistral's published models.

    pip install transformers==5.24.0 mistral-common==1.13.1 sentencepiece==0.2.3 && python -P test/golden/make/mistral_chat.py

texts: a chat as mistral-common writes it with the tokenizers that its package holds; "▁" is SentencePiece's space.
cases: ids by transformers (apply_chat_template) with the small tokenizers of test/golden, to which [INST] and [/INST] are added as special tokens
behind all others, and the chat templates of Mistral-7B-Instruct-v0.3 and Mistral-Nemo-Instruct-2407, without their parts for tools and systems.
"""
import json
import os

import mistral_common
import transformers
from mistral_common.protocol.instruct.messages import AssistantMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
DATA = os.path.join(os.path.dirname(mistral_common.__file__), "data")
FILES = ["tokenizer.model.v1", "mistral_instruct_tokenizer_240323.model.v3", "tekken_240911.json"]
QUERY = "甲公司收购 Bank\n关系是什么?"
ANSWER = "拥有"
LOOP = ("{{- bos_token }}{%- for message in messages %}{%- if message['role'] == 'user' %}{{- '[INST]SPACE' + message['content'] + '[/INST]' }}"
        "{%- else %}{{- 'SPACE' + message['content'] + eos_token }}{%- endif %}{%- endfor %}")


def small(kind):
    if kind == "SentencePiece":
        with open(os.path.join(GOLDEN, "llama-tokenizers", "files.json")) as file:
            tokenizer = Tokenizer.from_str(json.dumps(json.load(file)["models"]["prefix"]["file"]))
        marks = {"bos_token": "<s>", "eos_token": "</s>"}
    else:
        tokenizer = Tokenizer.from_file(os.path.join(GOLDEN, "tokenizer-json", "tokenizer.json"))
        marks = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    tokenizer.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in ["[INST]", "[/INST]"]])
    template = LOOP.replace("SPACE", " " if kind == "SentencePiece" else "")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **marks)


def main():
    texts = {}
    for name in FILES:
        messages = [UserMessage(content="甲公司"), AssistantMessage(content=ANSWER), UserMessage(content="公司")]
        texts[name] = MistralTokenizer.from_file(os.path.join(DATA, name)).encode_chat_completion(ChatCompletionRequest(messages=messages)).text
    cases = []
    for kind in ["SentencePiece", "bytes"]:
        tokenizer = small(kind)
        chat = [{"role": "user", "content": QUERY}, {"role": "assistant", "content": ANSWER}]
        ids = [list(tokenizer.apply_chat_template(part, tokenize=True, return_dict=True)["input_ids"]) for part in [chat[:1], chat]]
        assert ids[1][:len(ids[0])] == ids[0]
        cases.append({"tokenizer": kind, "prompt": ids[0], "answer": ids[1][len(ids[0]):]})
    versions = f"transformers {transformers.__version__}, mistral-common {mistral_common.__version__}"
    value = {"origin": f"{versions}, test/golden/make/mistral_chat.py", "query": QUERY, "answer": ANSWER, "texts": texts, "cases": cases}
    with open(os.path.join(GOLDEN, "mistral-chat.json"), "w") as file:
        file.write(json.dumps(value, ensure_ascii=False, indent=1) + "\n")


main()
