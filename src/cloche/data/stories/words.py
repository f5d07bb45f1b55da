"""People, colours, feelings, sizes and times: the words that plots draw from, in both languages."""

from cloche.data.stories.world import Feeling, Gender, Person, Word


def _children(gender: Gender, names: str) -> tuple[Person, ...]:
    pairs = (pair.split("/") for pair in names.split())
    return tuple(Person(english, chinese, gender) for english, chinese in pairs)


CHILDREN = _children(
    "f",
    "Anna/安娜 Lily/莉莉 Emma/艾玛 Lucy/露西 Mia/米娅 Ella/艾拉 Alice/爱丽丝 Sophie/苏菲 "
    "Grace/格蕾丝 Nora/诺拉 Zoe/佐伊 Rosa/罗莎 Maya/玛雅 Nina/尼娜 "
    "Mei/小美 Lan/小兰 Ling/小玲 Jing/小静",
) + _children(
    "m",
    "Tom/汤姆 Jack/杰克 Sam/山姆 Leo/里奥 Max/马克斯 Peter/彼得 Daniel/丹尼尔 Oliver/奥利弗 "
    "Henry/亨利 Lucas/卢卡斯 David/大卫 Omar/奥马尔 Ivan/伊万 Felix/菲利克斯 "
    "Ming/小明 Wei/小伟 Jun/小军 Tao/小涛",
)

GRANDMA = Person("Grandma", "奶奶", "f", "family")
GRANDPA = Person("Grandpa", "爷爷", "m", "family")
MOM = Person("Mom", "妈妈", "f", "family")
DAD = Person("Dad", "爸爸", "m", "family")
FAMILY = (
    GRANDMA,
    GRANDPA,
    MOM,
    DAD,
    Person("Uncle Bob", "鲍勃叔叔", "m", "family"),
    Person("Aunt Rose", "罗斯阿姨", "f", "family"),
)
TEACHER = Person("the teacher", "老师", "f", "trade")
FARMER = Person("the farmer", "农夫", "m", "trade")
BAKER = Person("the baker", "面包师", "m", "trade")
DOCTOR = Person("the doctor", "医生", "f", "trade")
GARDENER = Person("the gardener", "园丁", "m", "trade")
SHOPKEEPER = Person("the shopkeeper", "店主", "f", "trade")
NEIGHBOURS = (
    Person("Mrs Green", "格林太太", "f", "family"),
    Person("Mr Wood", "伍德先生", "m", "family"),
    Person("Mrs Hill", "希尔太太", "f", "family"),
    Person("Mr Lake", "雷克先生", "m", "family"),
    Person("Mrs Wang", "王太太", "f", "family"),
    Person("Mr Zhang", "张先生", "m", "family"),
)
EVERYONE = (
    *CHILDREN,
    *FAMILY,
    *NEIGHBOURS,
    TEACHER,
    FARMER,
    BAKER,
    DOCTOR,
    GARDENER,
    SHOPKEEPER,
)
"""All people that a story may be about."""

RED, BLUE, GREEN, YELLOW = (
    Word("red", "红色"),
    Word("blue", "蓝色"),
    Word("green", "绿色"),
    Word("yellow", "黄色"),
)
WHITE, BLACK, BROWN, GRAY = (
    Word("white", "白色"),
    Word("black", "黑色"),
    Word("brown", "棕色"),
    Word("gray", "灰色"),
)
ORANGE, PURPLE, PINK, SILVER, GOLDEN = (
    Word("orange", "橙色"),
    Word("purple", "紫色"),
    Word("pink", "粉色"),
    Word("silver", "银色"),
    Word("golden", "金色"),
)
BRIGHT = (RED, BLUE, GREEN, YELLOW, ORANGE, PURPLE, PINK)
ANY_COLOUR = (*BRIGHT, WHITE, BLACK, BROWN, GRAY)

SMALL, BIG, OLD, NEW, LITTLE = (
    Word("small", "小"),
    Word("big", "大"),
    Word("old", "旧"),
    Word("new", "新"),
    Word("little", "小"),
)

WEATHERS = (
    Word("sunny", "晴朗"),
    Word("warm", "温暖"),
    Word("cool", "凉爽"),
    Word("windy", "有风"),
    Word("cloudy", "多云"),
    Word("quiet", "安静"),
    Word("fine", "美好"),
)
TIMES = (
    Word("morning", "早晨"),
    Word("afternoon", "下午"),
    Word("day", "日子"),
    Word("Saturday", "星期六"),
    Word("Sunday", "星期天"),
    Word("spring day", "春日"),
    Word("autumn day", "秋日"),
)
TRAITS = (
    Word("kind", "善良"),
    Word("clever", "聪明"),
    Word("cheerful", "快乐"),
    Word("careful", "细心"),
    Word("curious", "好奇"),
    Word("patient", "有耐心"),
    Word("friendly", "友好"),
    Word("polite", "有礼貌"),
    Word("lively", "活泼"),
    Word("thoughtful", "懂事"),
    Word("gentle", "温柔"),
    Word("helpful", "热心"),
)


def _feeling(english: str, chinese: str, *gestures: tuple[str, str]) -> Feeling:
    return Feeling(english, chinese, tuple(Word(*gesture) for gesture in gestures))


_FEELINGS = (
    _feeling(
        "happy",
        "高兴",
        ("smiled", "笑了起来"),
        ("laughed out loud", "哈哈大笑"),
        ("jumped up and down", "又蹦又跳"),
        ("began to sing", "唱起歌来"),
    ),
    _feeling(
        "glad",
        "开心",
        ("smiled", "露出了笑容"),
        ("gave a little nod", "轻轻点了点头"),
        ("waved with both hands", "挥了挥双手"),
    ),
    _feeling(
        "sad",
        "难过",
        ("began to cry", "哭了起来"),
        ("said nothing at all", "一句话也不说"),
        ("looked at the ground", "低头看着地面"),
    ),
    _feeling(
        "proud", "自豪", ("stood up straight", "挺直了身子"), ("smiled at everyone", "对大家笑了笑")
    ),
    _feeling(
        "angry",
        "生气",
        ("stamped one foot", "跺了跺脚"),
        ("turned red", "脸都红了"),
        ("shouted loudly", "大声喊叫"),
    ),
    _feeling(
        "afraid",
        "害怕",
        ("stood very still", "一动也不敢动"),
        ("began to shake", "发起抖来"),
        ("took a step back", "后退了一步"),
    ),
    _feeling(
        "surprised",
        "惊讶",
        ("stopped at once", "一下子停了下来"),
        ("could hardly speak", "几乎说不出话来"),
    ),
    _feeling("tired", "累", ("sat down to rest", "坐下来休息"), ("yawned", "打了个哈欠")),
    _feeling(
        "excited",
        "兴奋",
        ("ran in circles", "跑来跑去"),
        ("could not sit still", "坐也坐不住"),
        ("talked very fast", "说话都变快了"),
    ),
    _feeling(
        "worried",
        "担心",
        ("walked up and down", "走来走去"),
        ("sighed", "叹了一口气"),
        ("could not think of anything else", "别的什么也想不了"),
    ),
    _feeling("lonely", "孤单", ("sat alone", "一个人坐着"), ("sighed softly", "轻轻叹了口气")),
    _feeling("sorry", "内疚", ("looked down", "低下了头"), ("spoke very softly", "说话很轻")),
    _feeling(
        "thankful",
        "感激",
        ("smiled warmly", "露出了温暖的笑容"),
        ("said thank you twice", "说了两遍谢谢"),
    ),
    _feeling(
        "nervous",
        "紧张",
        ("took a deep breath", "深深地吸了一口气"),
        ("swallowed hard", "咽了咽口水"),
    ),
    _feeling("disappointed", "失望", ("sighed", "叹了口气"), ("turned away", "转过身去")),
    _feeling(
        "relieved",
        "安心",
        ("let out a long breath", "长长地出了一口气"),
        ("smiled again", "又笑了"),
    ),
    _feeling("bored", "无聊", ("yawned", "打了个哈欠"), ("stared into space", "发起呆来")),
    _feeling(
        "jealous",
        "羡慕",
        ("could not look away", "一直盯着看"),
        ("became very quiet", "变得很安静"),
    ),
    _feeling("calm", "平静", ("smiled", "笑了笑"), ("breathed slowly", "慢慢地呼吸")),
)
FEELINGS = {feeling.english: feeling for feeling in _FEELINGS}
