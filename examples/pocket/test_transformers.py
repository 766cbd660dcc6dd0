"""The model folder in transformers 5.23 against the trainer, 300 tokens: `test_transformers.py`."""
import torch
from transformers import AutoTokenizer, DeepseekV4ForCausalLM

from pocket.export import read_weights
from pocket.model import Model
from test_oracle import FOLDER, ids_of_an_episode


def main():
    torch.set_num_threads(1)
    ids = ids_of_an_episode(300)
    theirs, info = DeepseekV4ForCausalLM.from_pretrained(FOLDER, dtype=torch.float32,
                                                         output_loading_info=True)
    print({k: sorted(v)[:6] for k, v in info.items() if v})
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    assert tokenizer.decode(ids) == tokenizer.decode(ids, skip_special_tokens=False)
    with torch.no_grad():
        a = Model(read_weights(FOLDER)).trunk(torch.tensor([ids]), "select")
        a = Model(read_weights(FOLDER)).logits(a)
        b = theirs.eval()(torch.tensor([ids])).logits[0]
    deviation = ((a - b).abs().max() / a.std()).item()
    print(f"{deviation:.1e} standard deviations")
    assert deviation <= 1e-4


if __name__ == "__main__":
    main()
