"""The characters people use most, by which a right reading is told from a wrong one.

Some 1,000 Chinese characters in their simplified and traditional forms, which make up well over
half of any Chinese text and a good share of Japanese; the frequent syllables of Korean; kana; and
the punctuation of all three. A wrong encoding hits them by chance only, about one time in ten.
"""

_PUNCTUATION = "、。，；：？！「」『』（）《》〈〉【】“”‘’…—·　～"

_SHARED = """
的一是不了在人有我他中上大和地到以要就出可也你生能而子那得下自之年作里用道行所然家事成方多去法如都同面起看
定天分好小部其些主理心她本前但因只想日者意力它把十民第公此已工使情明性知全三又正外高由很最重手文政美相被利
什二等或新己身果加西斯月合回特代化老世位次度任常先海通教原立及比解水名真走各入口平系活更打女四神何安少才反
受目太再感建必件管期市直德命山金指克保至形社便空治展司五基眼非白界光放像且思王象式色路南品住告求程北死交取
拉格望共今切院夜曲花春秋江風風雨雪竹酒青紫红黄黑六七八九百千万半早晚左右父母兄弟姐妹朋友孩吃喝坐站睡爱笑哭
快慢冷热远近深浅短草木林石火土河湖城村屋房床桌衣食米肉魚鸟牛羊犬虫黃紅樹葉根言字句章卷信答完始末先后今古昔
朝暮客君臣帝皇士兵刀弓歌舞琴玉珠香芳落流飛孤寒清空幽悲愁恨泉溪雲霜露星影泪醉宿登送寄別歸遊隱仙道佛寺鐘鼓船
音乐色病医院車站票店街角邊元角分斤尺寸丈里步包箱盒杯碗瓶刀笔纸本图画表格号码楼层门窗墙桥
"""

_SIMPLIFIED = """
们来为国说时会对过发后经么学现当没动还进样开从实军无与长机点业将两间应战头体见产关问话门东声员论处义几条气题
尔别变总电数报结场计区队决马书则听却达强难权设记类据边张该规觉术领传师观让识带导争运给这个着儿内提认万并亲离
请谁够妈爸钱写读买卖饭汉语华乡岁种尽举养图湾岛节阳阴阶层项须预顾题颜风飞饮马验骨鸡鸣龙龟齐
"""

_TRADITIONAL = """
們來為國說時會對過發後經麼學現當沒動還進樣開從實軍無與長機點業將兩間應戰頭體見產關問話門東聲員論處義幾條氣題
爾別變總電數報結場計區隊決馬書則聽卻達強難權設記類據邊張該規覺術領傳師觀讓識帶導爭運給這個著兒內裡裏認萬並親
離請誰夠媽錢寫讀買賣飯漢語華鄉歲種盡舉養圖灣島節陽陰階層項須預顧顏風飛飲驗鳥雞鳴龍龜齊於爲卽淚葉遠園舊煙樓臺
劍馭騎歡憶懷獨聞應猶豈終絕滿難雙樂鳳鴻鶴蘭蓮
"""

_JAPANESE = (
    "国会学気見出来時間円年月日本語社長話言手目私彼何今思食読書買売駅電車高校生先田村町県市東京"
)

_KOREAN = """
이다는의가에을하고지기리사로서도대한나를인은자어시해정아일수그라보전있장제만부스주구상게들과여동공유안무성선
비오연원신조경화소민교마거세우까못것등더면위때문말생각년월중모두내국통계미방발반분산식실없었습니요네야와러려며
저적점진차청체초최추치크타터토트특파판평포표품필학할함합행향현형호확환활황회후녕날씨좋세계늘사람
"""


def _kana() -> str:
    return "".join(chr(code) for code in (*range(0x3041, 0x3097), *range(0x30A1, 0x30FD)))


FREQUENT_CHARACTERS = frozenset(
    "".join(
        (_PUNCTUATION, _SHARED, _SIMPLIFIED, _TRADITIONAL, _JAPANESE, _KOREAN, _kana())
    ).replace("\n", "")
)
"""Every character that counts as frequent."""
