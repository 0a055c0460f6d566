"""Demo data: generated English and Chinese opinions in which word order decides the class.

Nothing is downloaded or copied: every text is drawn from the tables below. A quarter of the texts
are plain ("a good film"). In the others a negator, a frame or a contrast decides the polarity of a
cue, often many neutral words away. Every distant frame has a reversed form ("anything but" /
"exactly that") and every contrast occurs in both orders. A model that weighs words, or pairs of
adjacent words, therefore cannot separate the classes; a network that reads in order can.

Neutral words differ between the splits, except function words, so memorising them does not help.
The checksum of a text decides its split, so no text occurs in two splits.

Syntax of the templates:
    [a|b|]   one of the alternatives; the last one here is empty
    <word>   an entry of the table `word`; no entry is repeated in a text while others are left
    <+word>  an entry with the polarity of the label
    <-word>  an entry with the opposite polarity
    {a|b}    the first or the second; all braces of a template choose the same side
"""

import functools
import random
import re
import zlib
from collections.abc import Iterator

CLASS_NAMES = ("negative", "positive")

NUM_EXAMPLES = {"train": 6000, "validation": 1000, "test": 1000}
# Every ten consecutive texts are these, in random order: (language, label id).
_BLOCK = [("en", 0), ("en", 1)] * 3 + [("zh", 0), ("zh", 1)] * 2
# Six of eight checksums belong to train, one to validation, one to test.
_SPLIT_BY_CHECKSUM = ("train",) * 6 + ("validation", "test")

# === Cues: words that express an opinion, as (negative, positive) ===

_CUES = {
    "en": {
        "mild": ("bad, poor, disappointing, annoying, unpleasant, frustrating, mediocre, weak",
                 "good, nice, impressive, pleasant, satisfying, lovely, beautiful, likeable"),
        "strong": ("terrible, awful, horrible, dreadful, lousy, appalling, atrocious, useless, "
                   "pathetic, abysmal, disastrous, worthless, unbearable, hopeless",
                   "great, excellent, wonderful, superb, fantastic, amazing, brilliant, perfect, "
                   "outstanding, terrific, marvellous, splendid, magnificent, awesome"),
        "did": ("hated, disliked, detested, loathed", "loved, liked, enjoyed, adored"),
        "do": ("hate, dislike, detest, loathe", "love, like, enjoy, adore"),
        "sum": ("a disaster, a mess, a letdown, a failure, a nightmare, a disgrace, "
                "a waste of time, a waste of money",
                "a masterpiece, a delight, a joy, a triumph, a gem, a treat, "
                "worth the time, worth the money"),
        "most": ("worst", "best"),
        "advice": ("avoid it, stay away, save your money, one star, I want my money back, "
                   "never again, I would not recommend it, not worth it",
                   "buy it, go for it, worth every penny, five stars, highly recommended, "
                   "any time again, I would recommend it, well worth it"),
    },
    "zh": {
        "mild": ("差, 糟, 糟糕, 烂, 差劲, 坑人, 马虎, 粗糙",
                 "好, 棒, 赞, 优秀, 出色, 值, 用心, 精致"),
        "strong": ("让人失望, 让人讨厌, 让人生气, 让人难受",
                   "让人满意, 让人喜欢, 让人惊喜, 让人开心"),
        "do": ("讨厌, 反感, 嫌弃", "喜欢, 欣赏, 满意"),
        # These contain a negator or a degree; templates add no second one.
        "sum": ("没意思, 太差了, 不行, 没劲, 烂透了, 不怎么样, 糟透了, 差极了",
                "不错, 太棒了, 很行, 了不起, 好极了, 没得说, 棒极了, 很不错"),
        "most": ("最差, 最糟, 最烂", "最好, 最棒, 最赞"),
        "advice": ("别买, 后悔了, 浪费钱, 千万别来, 不推荐, 一星, 不会再来",
                   "快买, 放心买, 物超所值, 一定要来, 推荐, 五星, 还会再来"),
    },
}  # fmt: skip

# By domain: objects, their parts, negative adjectives, positive adjectives.
_DOMAINS = {
    "en": [
        ("film, movie, show, documentary", "plot, acting, story, ending, dialogue",
         "predictable, clumsy, boring, silly, dull", "gripping, moving, funny, clever, exciting"),
        ("hotel, hostel, apartment, resort", "room, bathroom, lobby, bed, pool",
         "filthy, noisy, dirty, uncomfortable, shabby",
         "spotless, quiet, clean, comfortable, cosy"),
        ("meal, dinner, pizza, lunch", "food, soup, sauce, bread, dessert",
         "bland, stale, greasy, disgusting, tasteless",
         "delicious, fresh, tasty, yummy, mouth-watering"),
        ("phone, tablet, laptop, product", "screen, battery, camera, keyboard, charger",
         "slow, flimsy, unreliable, faulty, cheap", "fast, sturdy, reliable, flawless, solid"),
        ("book, novel, comic, biography", "style, story, opening, ending, language",
         "confusing, shallow, tedious, boring, pointless",
         "gripping, thoughtful, moving, interesting, inspiring"),
        ("shop, agency, hotline, restaurant", "service, staff, support, team",
         "rude, unfriendly, unhelpful, slow, careless",
         "friendly, polite, helpful, attentive, quick"),
    ],
    "zh": [
        ("这部电影, 这个片子, 电影, 这部剧", "剧情, 演技, 音乐, 结局",
         "难看, 枯燥, 拖沓, 无聊", "好看, 感人, 精彩, 有趣"),
        ("这家酒店, 酒店, 这家宾馆, 这家旅馆", "房间, 大堂, 浴室, 环境",
         "脏, 吵, 破旧, 阴暗", "干净, 安静, 舒服, 温馨"),
        ("这顿饭, 这里的菜, 饭菜, 这道菜", "味道, 汤, 甜点, 面条",
         "难吃, 油腻, 恶心, 腥", "好吃, 美味, 新鲜, 香"),
        ("这款手机, 手机, 这台电脑, 这个产品", "屏幕, 电池, 音质, 系统",
         "难用, 卡顿, 劣质, 慢", "好用, 流畅, 耐用, 快"),
        ("这本书, 书, 这本小说, 这个故事", "文笔, 情节, 开头, 语言",
         "难看, 枯燥, 空洞, 乏味", "好看, 感人, 深刻, 生动"),
        ("这家店, 这家公司, 客服, 这家餐厅", "服务, 态度, 店员, 售后",
         "冷淡, 敷衍, 慢, 粗心", "热情, 周到, 快, 耐心"),
    ],
}  # fmt: skip

# === Neutral words, by split ===

_FILLERS = {
    "train": {
        "person": "cousin, uncle, neighbour, colleague, sister, flatmate, grandmother, plumber, "
                  "nephew, dentist, landlord, tailor",
        "place": "harbour, station, library, market, airport, kitchen, garage, museum, village, "
                 "stadium, office, valley, bakery, tunnel",
        "doing": "carrying, painting, measuring, drawing, pushing, repairing",
        "thing": "fence, suitcase, umbrella, ladder, bicycle, lamp, basket, bucket, drum, "
                 "parcel, bench, crate, flag, chair",
        "day": "Monday, Tuesday, Friday, Sunday",
        "人": "叔叔, 同事, 邻居, 妹妹, 室友, 奶奶, 医生",
        "地": "车站, 公园, 图书馆, 超市, 机场, 海边, 办公室",
        "做": "搬, 画, 修理, 整理, 寄",
        "物": "箱子, 雨伞, 梯子, 窗帘, 信封, 台灯, 包裹",
        "日": "一, 二, 五",
    },
    "validation": {
        "person": "brother, teacher, aunt, driver, classmate, gardener",
        "place": "bridge, school, square, church, forest, attic",
        "doing": "washing, packing, lifting",
        "thing": "carpet, kettle, scarf, mirror, barrel, saddle",
        "day": "Wednesday, Saturday",
        "人": "爸爸, 老师, 姑姑",
        "地": "学校, 邮局, 教堂, 山顶",
        "做": "洗, 刷, 量",
        "物": "毛毯, 铅笔, 镜框, 水壶",
        "日": "三, 六",
    },
    "test": {
        "person": "grandfather, roommate, niece, baker, lawyer, electrician",
        "place": "lighthouse, theatre, cellar, farm, island, workshop",
        "doing": "polishing, wrapping, weighing",
        "thing": "wardrobe, blanket, candle, hammer, clock, helmet",
        "day": "Thursday, Easter",
        "人": "舅舅, 木匠, 警察",
        "地": "码头, 湖畔, 剧院, 仓库",
        "做": "挂, 擦, 称",
        "物": "蜡烛, 锤头, 钟, 围巾",
        "日": "四, 日",
    },
}  # fmt: skip

# Adverbials fit between any two commas, sentences between any two sentences.
_NEUTRAL = {
    "en": {
        "f": ["<adverbial>", "<adverbial>, <adverbial>"],
        "F": ["<sentence>", "<sentence> <sentence>"],
        "adverbial": [
            "on <day> in the <place>",
            "with my <person> and a <thing>",
            "behind door number <number> of the <place>",
            "on the way from the <place> to the <place>",
            "while my <person> was <doing> the <thing>",
            "with ticket number <number> for the <place>",
            "with a <thing> from the <place> under my arm",
            "when my <person> and I were <doing> a <thing> by the <place>",
        ],
        "sentence": [
            "[My <person>|I] was <doing> the <thing> <adverbial>.",
            "We were in the <place> <adverbial>.",
        ],
    },
    "zh": {
        "f": ["<adverbial>", "<adverbial>，<adverbial>"],
        "F": ["<sentence>", "<sentence><sentence>"],
        "adverbial": [
            "周<日>在<地>的时候",
            "和<人>去<地>的那天",
            "从<地>到<地>的路上",
            "在<地>拿到<number>号以后",
            "和<人>一起<做><物>的时候",
            "<人>在<地><做><物>的时候",
        ],
        "sentence": ["<人>在<地><做><物>。", "周<日>我们在<地>和<人><做><物>。"],
    },
}

# === Templates: (share, alternatives) ===

_TEMPLATES = {
    "en": {
        "plain": (0.25, [
            "[|really |simply |just |so ]<+adj>",
            "[a|very <+mild>, a|what a|such a|a really|a truly] <+adj> <item>",
            "a <+adj> <item>, <f>",
            "<f>, [it|the <item>] was [<+adj>|so <+adj>|very <+mild>]",
            "[it|the <item>|this <item>|the <part>] [is|was] [|really |so ]<+adj>",
            "[it|the <item>|this <item>|the <part>] [is|was] [very|quite] <+mild>",
            "I [|really ]<+did> [it|this <item>|the <item>|the <part>][|, <f>]",
            "I [|really |do ]<+do> [it|this <item>|the <item>|the <part>]",
            "[it was|this is|the <item> is|what] <+sum>[|, <f>]",
            "[|the |this is the ]<+most> <item> [ever|I have ever seen|in years|of all]",
            "[|the <part> is <+adj>, |a <+adj> <item>, ]<+advice>",
            "I found the <part> <+adj> and the <part> <+adj>",
            "the <part> was <+adj> and so was the <part>",
        ]),
        "negated": (0.15, [
            "[|it is |it was |the <item> is |the <part> was ]not [very|that] <-mild>",
            "[|it is |it was |this <item> is |the <part> was ]not [|really ]<-adj>[| at all]",
            "not a <-adj> <item>[| at all]",
            "[it|this <item>|the <part>] [isn't|wasn't] [<-adj>|that <-mild>][| at all]",
            "I [didn't|don't|did not|do not] <-do> [it|the <item>|the <part>][| at all]",
            "[|it was |the <item> is ][by no means|far from|anything but|never] <-adj>",
            "there is nothing <-adj> about [it|this <item>|the <part>]",
            "[|it was ]not <-adj>, [just|simply|but] <+adj>",
            "I [would not|wouldn't|can't] call [it|the <part>|this <item>] <-adj>",
        ]),
        "contrast": (0.25, [
            "<-adj> at first, then <+adj>[|, <f>]",
            "<+adj> in the end, [but|though] <-adj> at first[|, <f>]",
            "the <part> was <-adj> at first, <f>, [later|then] it was <+adj>",
            "the <part> was <-adj>, [|<adverbial>, ]but [|overall ]the <item> [is|was] <+adj>",
            "the <part> [is|was] <-adj> but the <part> [is|was] <+adj>",
            "[overall|all in all] the <item> was <+adj>, [although|even if] the <part> was <-adj>",
            "at first, <adverbial>, it was <-adj>, [in the end|later], <adverbial>, it was <+adj>",
            "in the end, <adverbial>, it was <+adj>, though at first, <adverbial>, it was <-adj>",
            "although[|, <f>,] [many|my friends] found it <-adj>, I found it <+adj>",
            "I found it <+adj>, although[|, <f>,] [many|my friends] found it <-adj>",
            "we had heard it was <-adj>, but, <f>, it was <+adj>",
            "it was <+adj>, but, <f>, we had heard it was <-adj>",
        ]),
        "distant": (0.35, [
            "what I expected to be {<-adj>|<+adj>}[|, <f>,] turned out to be "
            "{anything but|exactly that}",
            "I would {not|always} say, <f>, that the <part> was {<-adj>|<+adj>}",
            "{nobody|everybody} who was with us, <f>, found the <item> {<-adj>|<+adj>}",
            "it is [simply|just] {not|so} true, <f>, that this <item> is {<-adj>|<+adj>}",
            "they told me that the <item> was {<-adj>|<+adj>}. <F> They were {mistaken|right}",
            "{a <-adj>|a <+adj>} <item>, said my friends. <F> I {cannot|fully} agree",
            "I {never|often} thought, <f>, that the <part> {or|and} the <part> "
            "{was <-adj>|were <+adj>}",
            "there was {nothing|plenty}, <f>, that I would call {<-adj>|<+adj>}",
            "we {didn't|did} find it, <f>, {<-adj>|<+adj>}",
            # The same words in both forms; the negation applies to a neutral clause in one of them.
            "{I would not say|I was not in a hurry}, <f>, "
            "{that it was <-adj>, but I was in a hurry|but I would say that it was <+adj>}",
            "{nobody|everybody} called it {<-adj>|<+adj>}, <f>, and {everybody|nobody} was with us",
        ]),
    },
    "zh": {
        "plain": (0.25, [
            "[<item>|<part>|][很|非常|真|真的很|]<+adj>",
            "[<item>|<part>|]太<+mild>了",
            "<f>，[我觉得|]<item>[很|非常]<+adj>",
            "[我|][很|非常|真]<+do>[<item>|<part>|]",
            "[<item>|<part>|]<+sum>",
            "<item>是我[见过|遇到过]<+most>的",
            "[|<part>很<+adj>，]<+advice>",
            "<part>很<+adj>，<part>也很<+adj>",
        ]),
        "negated": (0.15, [
            "[<item>|<part>|]不<-adj>",
            "[<item>|<part>|我觉得]一点[也|都|儿也]不<-adj>",
            "[<item>|<part>|][并不|并没有那么|没那么|不是很|不太]<-adj>",
            "我[不|一点也不|并不]<-do>[<item>|<part>|]",
            "不<-adj>，[真的|反而]很<+adj>",
        ]),
        "contrast": (0.25, [
            "[<item>|<part>|]开始很<-adj>，后来很<+adj>",
            "[<item>|<part>|]后来很<+adj>，虽然开始很<-adj>",
            "<part>[|有点|很]<-adj>，但是[|总的来说]<item>很<+adj>",
            "[|总的来说]<item>很<+adj>，虽然<part>[|有点|很]<-adj>",
            "刚开始，<adverbial>，觉得很<-adj>，[到最后|后来]，<adverbial>，觉得很<+adj>",
            "到最后，<adverbial>，觉得很<+adj>，虽然刚开始，<adverbial>，觉得很<-adj>",
            "虽然别人觉得很<-adj>，<f>，我觉得很<+adj>",
            "我觉得很<+adj>，<f>，虽然别人觉得很<-adj>",
        ]),
        "distant": (0.35, [
            "本来以为<item>会很{<-adj>|<+adj>}[|，<f>]，结果{完全相反|果然如此}",
            "我{从来没有|一直都在}，<f>，觉得<item>很{<-adj>|<+adj>}",
            "{没有人|每个人都}跟我们说过，<f>，<part>很{<-adj>|<+adj>}",
            "大家说<item>很{<-adj>|<+adj>}。<F>我{完全不|也完全}同意",
            "说<item>很{<-adj>|<+adj>}，<f>，这{不|确实}是真的",
            "我{并没有|确实是}，<f>，觉得<part>很{<-adj>|<+adj>}",
            # The same words in both forms; the negation applies to a neutral clause in one of them.
            "我{并没有|确实}觉得<part>很{<-adj>|<+adj>}，<f>，我{确实|并没有}一个人来",
            "{没有人|每个人都}说<item>很{<-adj>|<+adj>}，<f>，{每个人都|没有人}在场",
        ]),
    },
}  # fmt: skip

# === Composition ===


def _split_words(table: str) -> list[str]:
    return table.split(", ")


FILLERS = {
    split: {name: _split_words(table) for name, table in tables.items()}
    for split, tables in _FILLERS.items()
}
_SLOT = re.compile(r"<([^<>]+)>")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SIDES = re.compile(r"\{([^{|}]*)\|([^{}]*)\}")


def examples(split: str, *, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Iterate over the texts of one split with the names of their classes.

        for text, label in demo.examples("train"): ...

    Equal arguments give equal texts in every process. The classes are exactly balanced and three
    of five texts are English. No text is repeated, within a split or (for any seeds) in another
    split, also if case and the final punctuation mark are ignored.

    Args:
        split: a key of `NUM_EXAMPLES`.
        seed: other seeds give other texts.

    Yields:
        (text, class name); the name is one of `CLASS_NAMES`.

    Raises:
        ValueError: the split does not exist.
    """
    if split not in NUM_EXAMPLES:
        raise ValueError(f"the demo has no split {split!r}; it has {', '.join(NUM_EXAMPLES)}")
    return iter(_drawn(split, seed))


# A training reads its texts three times; drawing them again would take a third of a second each.
@functools.lru_cache(maxsize=len(NUM_EXAMPLES))
def _drawn(split: str, seed: int) -> tuple[tuple[str, str], ...]:
    return tuple(_draw(split, random.Random(f"textclf demo {seed} {split}")))


def _draw(split: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    seen = set()
    for _ in range(0, NUM_EXAMPLES[split], len(_BLOCK)):
        for language, label in rng.sample(_BLOCK, len(_BLOCK)):
            # Compared before capitals and final marks are added: these alone make no new text.
            text = _compose(rng, language, label, split)
            while text in seen or _SPLIT_BY_CHECKSUM[zlib.crc32(text.encode()) % 8] != split:
                text = _compose(rng, language, label, split)
            seen.add(text)
            yield _add_style(rng, text, language), CLASS_NAMES[label]


def _compose(rng: random.Random, language: str, label: int, split: str) -> str:
    """Return a random text of a class with the neutral words of a split, in lower case."""
    kinds = list(_TEMPLATES[language].values())
    [(_, templates)] = rng.choices(kinds, [share for share, _ in kinds])
    tables = _tables(language, rng.choice(_DOMAINS[language]), label, split)
    tables = tables | {
        "item": [rng.choice(tables["item"])],  # all of a text is about one object
        # Few numbers are repeated: they teach a network to ignore unknown words.
        "number": [
            str(3 * rng.randrange(40, 3000) + tuple(NUM_EXAMPLES).index(split)) for _ in range(4)
        ],
    }
    return _expand(rng, rng.choice(templates), tables)


@functools.cache
def _tables(language: str, domain: tuple[str, ...], label: int, split: str) -> dict[str, list[str]]:
    """Return the entries of every slot of a template; "+" and "-" refer to this label."""
    items, parts, *adjectives = map(_split_words, domain)
    tables = {**_NEUTRAL[language], **FILLERS[split], "item": items, "part": parts}
    for sign, polarity in (("+", label), ("-", 1 - label)):
        for name, cues in _CUES[language].items():
            tables[sign + name] = _split_words(cues[polarity])
        tables[sign + "mild"] += adjectives[polarity]
        tables[sign + "adj"] = tables[sign + "mild"] + tables[sign + "strong"]
    return tables


def _expand(rng: random.Random, text: str, tables: dict[str, list[str]]) -> str:
    """Replace braces, then choices and slots, innermost first, until none is left."""
    text = _SIDES.sub(rng.choice([r"\1", r"\2"]), text)
    used = set()

    def draw(slot: re.Match[str]) -> str:
        table = tables[slot[1]]
        word = rng.choice([word for word in table if word not in used] or table)
        used.add(word)
        return word

    while "[" in text or "<" in text:
        text = _CHOICE.sub(lambda choice: rng.choice(choice[1].split("|")), text)
        text = _SLOT.sub(draw, text)
    return text


def _add_style(rng: random.Random, text: str, language: str) -> str:
    """Add what differs from writer to writer: an initial capital and a final mark."""
    if language == "zh":
        return text + rng.choice(["", "。", "。", "！"])
    text = re.sub(r"\b([Aa]) (?=[aeio]|u(?!se))", r"\1n ", text)
    if rng.random() < 0.3:
        return text  # without capital and mark, as typed in a hurry
    return text[0].upper() + text[1:] + rng.choice(["", ".", ".", "!"])
