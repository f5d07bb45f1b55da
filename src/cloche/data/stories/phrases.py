"""Phrasings that many plots share: openings, small observations, and one set for each action.

Each is a pair that means the same in English and Chinese. Gaps are roles; see `templates.py`.
"""

from cloche.data.stories.world import Phrasing

Phrasings = tuple[Phrasing, ...]

INTRODUCTIONS: Phrasings = (
    ("{hero} was a {trait} {hero.child}.", "{hero}是个{trait}的{hero.child}。"),
    (
        "Once there was a {trait} {hero.child} called {hero}.",
        "从前有个{trait}的{hero.child}，名字叫{hero}。",
    ),
    ("{hero} was known as a {trait} {hero.child}.", "大家都知道{hero}是个{trait}的{hero.child}。"),
    (
        "In a small town lived a {trait} {hero.child} named {hero}.",
        "小镇上住着一个{trait}的{hero.child}，名叫{hero}。",
    ),
    (
        "This is the story of {hero}, a {trait} {hero.child}.",
        "这是{hero}的故事，{hero.he}是个{trait}的{hero.child}。",
    ),
    (
        "Everyone in the village liked {hero}, a {trait} {hero.child}.",
        "村里人人都喜欢{hero}，{hero.he}是个{trait}的{hero.child}。",
    ),
)

OPENINGS: Phrasings = (
    (
        "It was a {weather} {time}, and {hero} was {place.at}.",
        "那是一个{weather}的{time}，{hero}在{place.at}。",
    ),
    (
        "{hero} was {place.at} one {weather} {time}.",
        "一个{weather}的{time}，{hero}待在{place.at}。",
    ),
    (
        "On a {weather} {time}, you could have found {hero} {place.at}.",
        "一个{weather}的{time}，{hero}正好在{place.at}。",
    ),
    ("After lunch, {hero} was {place.at}.", "吃过午饭，{hero}来到了{place.to}。"),
    (
        "This happened {place.at} on a {weather} {time}, when {hero} was there.",
        "这件事发生在{place.at}，那是一个{weather}的{time}，{hero}正在那里。",
    ),
)
OPENINGS_AWAY: Phrasings = (
    *OPENINGS,
    (
        "One {weather} {time}, {hero} went {place.to}.",
        "一个{weather}的{time}，{hero}去了{place.to}。",
    ),
    (
        "On a {weather} {time}, {hero} set out early and came {place.to}.",
        "一个{weather}的{time}，{hero}早早出门，来到了{place.to}。",
    ),
    ("After breakfast, {hero} went {place.to}.", "吃过早饭，{hero}去了{place.to}。"),
    (
        "{hero} liked {place} very much and went there one {weather} {time}.",
        "{hero}非常喜欢{place.to}，一个{weather}的{time}，{hero.he}又去了那里。",
    ),
    (
        "{hero} walked {place.to} one {weather} {time}.",
        "一个{weather}的{time}，{hero}走到了{place.to}。",
    ),
    (
        "{hero} put on {hero.his} shoes and went {place.to}.",
        "{hero}穿上鞋子，去了{place.to}。",
    ),
    (
        "It took {hero} ten minutes to walk {place.to}.",
        "{hero}走了十分钟，来到了{place.to}。",
    ),
)
OPENINGS_HOME: Phrasings = (
    *OPENINGS,
    (
        "One {weather} {time}, {hero} stayed at home and played {place.at}.",
        "一个{weather}的{time}，{hero}没有出门，在{place.at}玩。",
    ),
    (
        "{hero} was busy {place.at} one {weather} {time}.",
        "一个{weather}的{time}，{hero}在{place.at}忙着。",
    ),
    (
        "It was a {weather} {time}, and {hero} was at home, {place.at}.",
        "那是一个{weather}的{time}，{hero}没有出门，就在{place.at}。",
    ),
)
OPENINGS_BOTH: Phrasings = (
    (
        "One {weather} {time}, {both} were {place.at}.",
        "一个{weather}的{time}，{both}在{place.at}。",
    ),
    (
        "{both} met {place.at} one {weather} {time}.",
        "一个{weather}的{time}，{both}在{place.at}碰面了。",
    ),
    (
        "It was a {weather} {time}, and {both} were together {place.at}.",
        "那是一个{weather}的{time}，{both}一起在{place.at}。",
    ),
    ("After school, {both} met {place.at}.", "放学后，{both}在{place.at}碰面了。"),
    ("{both} were good friends.", "{both}是好朋友。"),
    (
        "{hero} had a good friend called {friend}.",
        "{hero}有个好朋友，名叫{friend}。",
    ),
    ("{both} did almost everything together.", "{both}差不多什么事都一起做。"),
)
TOGETHER_THERE: Phrasings = (
    ("That {time}, {both} were {place.at}.", "这个{time}，{both}在{place.at}。"),
    (
        "One {weather} {time}, {both} met {place.at}.",
        "一个{weather}的{time}，{both}在{place.at}碰面了。",
    ),
    (
        "One {weather} {time}, they were {place.at}.",
        "一个{weather}的{time}，{both.he}在{place.at}。",
    ),
)
MEETINGS: Phrasings = (
    ("There {hero} met {friend}.", "在那里，{hero}遇见了{friend}。"),
    ("{friend} was there too.", "{friend}也在那里。"),
    ("{hero}'s friend {friend} came along.", "{hero}的朋友{friend}也来了。"),
    ("Soon {friend} came by and said hello.", "不久，{friend}走过来打了招呼。"),
    ('"Hello, {hero}!" called {friend}.', "“你好，{hero}！”{friend}喊道。"),
    ("A moment later, {hero} saw {friend} coming.", "过了一会儿，{hero}看见{friend}来了。"),
)

SIGHTS: dict[str, Phrasings] = {
    "green": (
        ("Birds were singing in the branches.", "鸟儿在树枝上唱歌。"),
        ("A butterfly was resting in the sun.", "一只蝴蝶停在阳光下休息。"),
        ("A squirrel ran up a tree.", "一只松鼠爬上了树。"),
        ("The grass was soft and fresh.", "草又软又嫩。"),
        ("Bees were humming everywhere.", "到处都有蜜蜂嗡嗡地飞。"),
        ("A line of ants crossed the path.", "一队蚂蚁正在穿过小路。"),
        ("The air smelled of grass and earth.", "空气里有青草和泥土的味道。"),
        ("A woodpecker was knocking on a trunk far away.", "远处有一只啄木鸟在敲树干。"),
        ("A snail crept slowly along a wet branch.", "一只蜗牛在湿湿的树枝上慢慢地爬。"),
    ),
    "water": (
        ("Little waves touched the shore.", "小小的波浪轻轻拍着岸边。"),
        ("A fish jumped out of the water.", "一条鱼跳出了水面。"),
        ("Two white birds circled over the water.", "两只白鸟在水面上盘旋。"),
        ("The water sparkled.", "水面闪闪发光。"),
        ("The water was clear and cool.", "水又清又凉。"),
        ("A dragonfly flew past.", "一只蜻蜓飞了过去。"),
        ("A fisherman was mending his net.", "一个渔夫正在补网。"),
    ),
    "paved": (
        ("Pigeons were picking at crumbs.", "鸽子正在啄面包屑。"),
        ("People were coming and going.", "人们来来往往。"),
        ("Music came from somewhere nearby.", "附近传来一阵音乐声。"),
        ("Two old men were talking and laughing.", "两位老人正在说笑。"),
        ("A baby was laughing in its mother's arms.", "一个小宝宝在妈妈怀里笑。"),
        ("A bus stopped and drove on again.", "一辆公共汽车停了一下，又开走了。"),
    ),
    "shed": (
        ("It smelled of wood and earth.", "里面有木头和泥土的味道。"),
        ("Dust was dancing in the light.", "灰尘在光里飞舞。"),
        ("A mouse ran along the wall.", "一只老鼠沿着墙跑过去。"),
        ("A swallow flew in and out again.", "一只燕子飞进来，又飞了出去。"),
    ),
    "room": (
        ("Dust was dancing in the light.", "灰尘在光里飞舞。"),
        ("It was warm and quiet inside.", "里面又暖和又安静。"),
        ("The floor creaked at every step.", "每走一步，地板就吱呀响一声。"),
        ("A fly was buzzing against the glass.", "一只苍蝇在玻璃上嗡嗡叫。"),
        ("Somewhere a door closed softly.", "不知哪里有一扇门轻轻地关上了。"),
        ("A spider had made a web under the ceiling.", "一只蜘蛛在天花板下结了网。"),
    ),
}
HABITS: Phrasings = (
    ("{hero} was humming a little song.", "{hero}哼着一首小曲。"),
    ("{hero} looked around slowly.", "{hero}慢慢地看了看四周。"),
    ("{hero} had slept well the night before.", "前一天晚上，{hero}睡得很香。"),
    ("{hero} had eaten a bowl of porridge that day.", "{hero}这天喝了一碗粥。"),
    ("{hero} had no homework that day.", "{hero}这天没有作业。"),
    ("{hero} was seven years old.", "{hero}今年七岁。"),
    ("{hero} was eight years old.", "{hero}今年八岁。"),
    ("{hero} lived not far away.", "{hero}住得不远。"),
    ("{hero} had a loose tooth.", "{hero}有一颗牙齿松动了。"),
    ("{hero} was thinking about dinner.", "{hero}正想着晚饭吃什么。"),
    ("{hero} had two brothers and a sister.", "{hero}有两个哥哥和一个妹妹。"),
    ("{hero} whistled a tune.", "{hero}吹着口哨。"),
    ("{hero} had nothing special to do.", "{hero}没有什么特别的事要做。"),
    ("{hero} wanted to become a pilot one day.", "{hero}长大以后想当飞行员。"),
    ("{hero} wanted to become a doctor one day.", "{hero}长大以后想当医生。"),
    ("{hero} had just had a haircut.", "{hero}刚刚理过头发。"),
    ("{hero} liked rice and noodles best of all.", "{hero}最爱吃米饭和面条。"),
)

OWNING: Phrasings = (
    ("{who} had {what.a}.", "{who}有{what.a}。"),
    ("{who} had {what.a} and loved it dearly.", "{who}有{what.a}，特别喜爱它。"),
    ("{who} owned {what.a}.", "{who}拥有{what.a}。"),
    ("{who} was very fond of {who.his} {what.bare}.", "{who}非常喜欢自己的{what.bare}。"),
)
OWNING_GIVEN: Phrasings = (
    ("{who} had just got {what.a} from an aunt.", "{who}刚从姑姑那里得到{what.a}。"),
    ("{who} had got {what.a} for Christmas.", "{who}过圣诞节时得到了{what.a}。"),
)
OWNING_CARRIED: Phrasings = (
    ("{who} had brought {what.a}.", "{who}带来了{what.a}。"),
    ("{who} had {what.a} with {who.him}.", "{who}身边有{what.a}。"),
    ("{who} had taken {what.a} along.", "{who}随身带着{what.a}。"),
    (
        "{who} went nowhere without {who.his} {what.bare}.",
        "{who}走到哪里都离不开自己的{what.bare}。",
    ),
)
TAKING: Phrasings = (
    ("{who} picked up {what.full}.", "{who}拿起了{what.full}。"),
    ("{who} took {what.full}.", "{who}拿了{what.full}。"),
)
GIVING: Phrasings = (
    ("{who} gave {what.full} to {whom}.", "{who}把{what.full}给了{whom}。"),
    ("{who} gave {what.the} to {whom}.", "{who}把{what}给了{whom}。"),
    ("{who} handed {what.full} to {whom}.", "{who}把{what.full}交给了{whom}。"),
    ("So {who} gave {what.the} to {whom}.", "于是，{who}把{what}交给了{whom}。"),
    ("Then {who} gave {whom} {what.full}.", "然后，{who}把{what.full}给了{whom}。"),
    ("With a smile, {who} gave {what.full} to {whom}.", "{who}微笑着把{what.full}给了{whom}。"),
)
FINDING: Phrasings = (
    ("{who} found {what.full} {where}.", "{who}在{where}找到了{what.full}。"),
    (
        "{who} looked {where}, and there was {what.full}.",
        "{who}往{where}一看，{what.full}就在那里。",
    ),
    ("At last {who} saw {what.full} {where}.", "{who}终于看见{what.full}就在{where}。"),
    (
        "There it was: {who} had found {what.full} {where}.",
        "原来，{what.full}在{where}，被{who}找到了。",
    ),
)
PUTTING: Phrasings = (
    ("{who} put {what.full} {where}.", "{who}把{what.full}放在了{where}。"),
    ("{who} left {what.full} {where}.", "{who}把{what.full}留在了{where}。"),
)
FEELING: Phrasings = (
    ("{who} felt {feeling}.", "{who}觉得很{feeling}。"),
    ("{who} was very {feeling}.", "{who}非常{feeling}。"),
    ("{who} felt {feeling} and {gesture}.", "{who}很{feeling}，{gesture}。"),
    ("{who} was so {feeling} that {who.he} {gesture}.", "{who}{feeling}极了，{gesture}。"),
)
FEELING_BOTH: Phrasings = (
    ("{who} felt {feeling}.", "{who}都觉得很{feeling}。"),
    ("{who} were both very {feeling}.", "{who}两个人都非常{feeling}。"),
    ("{who} felt {feeling} and {gesture}.", "{who}都很{feeling}，{gesture}。"),
)
CAUSED_FEELING = ("This made {who} very {feeling}.", "这让{who}非常{feeling}。")
CAUSED_FEELING_BOTH = ("This made {who} very {feeling}.", "这让{who}都非常{feeling}。")
SEARCHING: Phrasings = (
    ("{who} looked everywhere.", "{who}到处找。"),
    ("{who} searched high and low.", "{who}上上下下找了个遍。"),
    ("{who} looked to the left and to the right.", "{who}左看看，右看看。"),
    ("{who} searched for a long time.", "{who}找了很久。"),
    ("{who} turned over everything that could be moved.", "凡是能搬动的东西，{who}都翻了一遍。"),
    ("{who} went over the whole place twice.", "{who}把整个地方找了两遍。"),
)
THANKING: Phrasings = (
    ('"Thank you very much!" said {who}.', "“太谢谢你了！”{who}说。"),
    ("{who} thanked {whom} with all {who.his} heart.", "{who}真心地感谢{whom}。"),
    ('"That is very kind of you," said {who}.', "“你真好。”{who}说。"),
    ('"I will never forget this," {who} told {whom}.', "“这件事我会一直记得的。”{who}对{whom}说。"),
    ("{who} shook {whom}'s hand and said thank you.", "{who}握了握{whom}的手，说了声谢谢。"),
)
ANSWERING: Phrasings = (
    ('"You are welcome," said {who}.', "“不客气。”{who}说。"),
    ('"I was glad to help," said {who}.', "“能帮上忙，我很乐意。”{who}说。"),
    ('"That is what friends are for," said {who}.', "“朋友就该这样。”{who}说。"),
    ("{who} only smiled and nodded.", "{who}只是笑着点了点头。"),
)
